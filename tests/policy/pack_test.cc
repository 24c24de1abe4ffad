// Loading of packs: everything that a pack can get wrong is refused with the file, the member, what was seen
// and wanted.
#include "policy/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace retort::policy {
namespace {

using ::testing::HasSubstr;

constexpr char kGood[] = R"(id: acme.terms
version: "1"
title: Terms of Acme
kind: terms
confidence: read
source_url: https://acme.example/terms
document_date: 2026-01-01
effective_from: 2026-01-01
applies_to:
  - provider: acme
rules:
  - id: yes
    clause: section 1
    summary: It is allowed.
    effect: allow
    obligations: [thanks]
obligations:
  - id: thanks
    kind: credit_line
    trigger: on_public_statement
    text: Thanks to Acme
)";

std::string Replaced(std::string_view from, std::string_view to) {
  std::string yaml = kGood;
  const size_t at = yaml.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return yaml.replace(at, from.size(), to);
}

TEST(PackTest, LoadsAndHashesExactBytes) {
  const auto pack = LoadedPack::Parse("acme.yaml", kGood);
  ASSERT_TRUE(pack.ok()) << pack.status();
  EXPECT_EQ(pack->pack().id(), "acme.terms");
  EXPECT_EQ(pack->bytes(), kGood);
  EXPECT_EQ(pack->confidence(), "read");
  const auto other = LoadedPack::Parse("acme.yaml", std::string(kGood) + "\n");
  ASSERT_TRUE(other.ok());
  EXPECT_NE(pack->sha256(), other->sha256());
  EXPECT_EQ(LoadedPack::Parse("x", Replaced("confidence: read", "confidence: secondary"))->confidence(),
            "secondary");
  EXPECT_EQ(LoadedPack::Parse("x", Replaced("confidence: read", "confidence: unconfirmed"))->confidence(),
            "unconfirmed");
}

TEST(PackTest, HashIsSha256) {
  // printf '%s' of these bytes piped to sha256sum
  const std::string bytes =
      "id: a\nversion: \"1\"\ntitle: t\nkind: company\nconfidence: read\ndocument_date: "
      "2026-01-01\neffective_from: 2026-01-01\n"
      "rules: [{ id: r, clause: c, summary: s, effect: review }]\n";
  EXPECT_EQ(LoadedPack::Parse("a", bytes)->sha256(),
            "edacbd9aee64deaf6bd283e4b828fdca0ddbdbf83caf45c1dcdb0760bb55fc7e");
}

TEST(PackTest, RefusesWrongMembers) {
  const struct {
    const char *from, *to, *message;
  } cases[] = {
      {"id: acme.terms", "id: Acme", "x: id: saw \"Acme\""},
      {"id: acme.terms", "id: acme..terms", "x: id: saw"},
      {"id: acme.terms", "id: -acme", "x: id: saw"},
      {"id: acme.terms", "id: retort.builtin", "not retort.builtin"},
      {"id: acme.terms\n", "", "x: id: saw \"\""},
      {"version: \"1\"\n", "", "x: version: saw nothing"},
      {"title: Terms of Acme\n", "", "x: title: saw nothing"},
      {"kind: terms\n", "", "x: kind: saw nothing"},
      {"kind: terms\n", "kind: contract\n", "x:4:7: kind: saw \"contract\""},
      {"confidence: read\n", "", "x: confidence: saw nothing"},
      {"source_url: https://acme.example/terms\n", "", "x: source_url: saw"},
      {"https://acme", "ftp://acme", "x: source_url: saw"},
      {"document_date: 2026-01-01", "document_date: January", "x: document_date: saw \"January\""},
      {"document_date: 2026-01-01", "document_date: 2026-02-30", "x: document_date: saw"},
      {"effective_from: 2026-01-01\n", "", "x: effective_from: saw nothing"},
      {"effective_from: 2026-01-01\n", "effective_from: 2026-01-01\neffective_to: 2026-01-01\n",
       "x: effective_to: saw 2026-01-01T"},
      {"applies_to:\n  - provider: acme\n", "", "x: applies_to: saw nothing"},
      {"- provider: acme", "- models: [m]", "x: applies_to[0].provider: saw nothing"},
      {"- provider: acme", "- { provider: acme, channels: [post] }",
       "x: applies_to[0].channels: saw \"post\""},
      {"- provider: acme", "- { provider: acme, models: [\"\"] }",
       "x: applies_to[0].models: saw an empty glob"},
      {"- provider: acme", "- { provider: acme, acquired_from: 2026-01-02, acquired_before: 2026-01-01 }",
       "x: applies_to[0].acquired_before: saw"},
      {"  - id: yes\n", "  - id: Yes!\n", "x: rules[0].id: saw \"Yes!\""},
      {"    clause: section 1\n", "", "x: rules[0].clause: saw nothing"},
      {"    summary: It is allowed.\n", "", "x: rules[0].summary: saw nothing"},
      {"    effect: allow\n", "", "x: rules[0].effect: saw nothing"},
      {"effect: allow\n", "effect: allow\n    unless_authorisation: [a]\n",
       "x: rules[0].unless_authorisation: saw an allow rule"},
      {"effect: allow\n", "effect: deny\n", "x: rules[0].obligations: saw a deny rule"},
      {"obligations: [thanks]", "obligations: [sorry]", "x: rules[0].obligations: saw \"sorry\""},
      {"    obligations: [thanks]\n", "", "x: obligations: saw \"thanks\", which no rule names"},
      {"  - id: thanks", "  - id: Thanks", "x: obligations[0].id: saw"},
      {"    kind: credit_line\n", "", "x: obligations[0].kind: saw nothing"},
      {"    trigger: on_public_statement\n", "", "x: obligations[0].trigger: saw nothing"},
      {"    text: Thanks to Acme\n", "", "x: obligations[0].text: saw nothing"},
      {"rules:\n", "rules: []\nnotes: |\n", "x: rules: saw nothing"},
      {"title: ", "tittle: ", "did you mean title?"},
  };
  for (const auto& c : cases) {
    std::string yaml = Replaced(c.from, c.to);
    if (std::string_view(c.to).starts_with("rules: []")) yaml.erase(yaml.find("obligations:\n  - id"));
    const auto pack = LoadedPack::Parse("x", yaml);
    EXPECT_EQ(pack.status().code(), absl::StatusCode::kInvalidArgument) << c.from << " -> " << c.to;
    EXPECT_THAT(std::string(pack.status().message()), HasSubstr(c.message));
  }
}

TEST(PackTest, RefusesTheSameIdTwice) {
  const std::string rule = "  - { id: yes, clause: c, summary: s, effect: review }\n";
  EXPECT_THAT(std::string(LoadedPack::Parse("x", Replaced("rules:\n", "rules:\n" + rule)).status().message()),
              HasSubstr("x: rules[1].id: saw \"yes\" again"));
  const std::string obligation = "  - { id: thanks, kind: credit_line, trigger: on_train, text: t }\n";
  EXPECT_THAT(std::string(LoadedPack::Parse("x", kGood + obligation).status().message()),
              HasSubstr("x: obligations[1].id: saw \"thanks\" again"));
}

TEST(PackTest, RefusesWrongConditions) {
  const struct {
    const char *when, *message;
  } cases[] = {
      {"{}", "rules[0].when: saw 0 of them, wanted exactly one of all, any, not and fact"},
      {"{ fact: student.sold }", "rules[0].when: saw 0 tests, wanted exactly one"},
      {"{ fact: student.sold, equals: true, present: true }", "saw 2 tests"},
      {"{ fact: student.sold, equals: true, not: { fact: student.sold, present: true } }", "saw 2 of them"},
      {"{ all: [], fact: student.use, equals: a }", ""},
      {"{ all: [] }", "saw 0 of them"},
      {"{ not: { fact: student.use, equals: a }, equals: b }", "saw 1 tests, wanted none"},
      {"{ fact: student.colour, equals: red }", "rules[0].when.fact: saw \"student.colour\""},
      {"{ all: [{ fact: student.sold, at_least: 1 }] }",
       "rules[0].when.all[0]: saw another test of true or false"},
      {"{ any: [{ fact: student.sold, equals: maybe }] }",
       "rules[0].when.any[0]: saw another test of true or false"},
      {"{ not: { fact: student.use, at_least: 1 } }", "rules[0].when.not: saw another test of a text"},
      {"{ fact: student.monthly_active_users, equals: 1 }", "saw another test of an integer"},
      {"{ fact: generated_time, equals: today }", "saw another test of a time"},
      {"{ fact: authorisations, equals: a }", "saw another test of a list"},
  };
  for (const auto& c : cases) {
    const auto pack = LoadedPack::Parse(
        "x", Replaced("    effect: allow\n", std::string("    effect: allow\n    when: ") + c.when + "\n"));
    if (*c.message == '\0') {
      EXPECT_TRUE(pack.ok()) << c.when << pack.status();
      continue;
    }
    EXPECT_EQ(pack.status().code(), absl::StatusCode::kInvalidArgument) << c.when;
    EXPECT_THAT(std::string(pack.status().message()), HasSubstr(c.message));
  }
}

TEST(PackTest, RefusesDeepConditions) {
  const auto nested = [](int levels) {
    std::string when = "{ fact: student.sold, equals: true }";
    for (int i = 1; i < levels; ++i) when = "{ not: " + when + " }";
    return Replaced("    effect: allow\n", "    effect: allow\n    when: " + when + "\n");
  };
  EXPECT_TRUE(LoadedPack::Parse("x", nested(16)).ok());
  EXPECT_THAT(std::string(LoadedPack::Parse("x", nested(17)).status().message()),
              HasSubstr("at most 16 levels"));
}

TEST(PackTest, KnowsRulesThatReadScreening) {
  const auto reads = [](const char* when) {
    return LoadedPack::Parse("x", Replaced("    effect: allow\n",
                                           std::string("    effect: allow\n    when: ") + when + "\n"))
        ->ReadsScreening(0);
  };
  EXPECT_TRUE(reads("{ fact: screening.refusal, equals: true }"));
  EXPECT_TRUE(reads(
      "{ not: { any: [{ fact: student.sold, equals: true }, { fact: screening.secrets, at_least: 1 }] } }"));
  EXPECT_TRUE(reads("{ all: [{ fact: screening.finish_reason, present: true }] }"));
  EXPECT_FALSE(reads("{ fact: student.sold, equals: true }"));
  EXPECT_FALSE(LoadedPack::Parse("x", kGood)->ReadsScreening(0));
}

std::string Usage(const std::string& id, const std::string& incorporates) {
  return "id: " + id +
         "\nversion: \"1\"\ntitle: t\nkind: usage_policy\nconfidence: read\nsource_url: https://a.example\n"
         "document_date: 2026-01-01\neffective_from: 2026-01-01\nincorporates: [" +
         incorporates + "]\nrules: [{ id: r, clause: c, summary: s, effect: review }]\n";
}

TEST(PackSetTest, SortsByIdAndFinds) {
  const auto set = PackSet::FromPacks({{"1", Usage("b", "")}, {"2", Usage("a", "")}, {"3", kGood}});
  ASSERT_TRUE(set.ok()) << set.status();
  ASSERT_EQ(set->packs().size(), 3u);
  EXPECT_EQ(set->packs()[0].pack().id(), "a");
  EXPECT_EQ(set->packs()[2].pack().id(), "b");
  EXPECT_EQ(set->Find("acme.terms"), &set->packs()[1]);
  EXPECT_EQ(set->Find("c"), nullptr);
  EXPECT_TRUE(PackSet::FromPacks({})->packs().empty());
}

TEST(PackSetTest, RefusesWhatDoesNotFitTogether) {
  const auto message = [](std::vector<std::pair<std::string, std::string>> packs) {
    const auto set = PackSet::FromPacks(std::move(packs));
    EXPECT_EQ(set.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(set.status().message());
  };
  EXPECT_THAT(message({{"1", Usage("a", "")}, {"2", Usage("a", "")}}), HasSubstr("saw two with the id a"));
  EXPECT_THAT(message({{"1", Usage("a", "b")}}), HasSubstr("a: incorporates: saw \"b\""));
  EXPECT_THAT(message({{"1", Usage("a", "acme.terms")}, {"2", kGood}}),
              HasSubstr("wanted the id of an active usage policy"));
  EXPECT_THAT(message({{"1", Usage("a", "a")}}), HasSubstr("saw itself"));
  EXPECT_THAT(message({{"1", Usage("a", "b")}, {"2", Usage("b", "c")}, {"3", Usage("c", "a")}}),
              HasSubstr("saw itself"));
  EXPECT_THAT(message({{"1", "id: ["}}), HasSubstr("1:"));
}

class PackFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              (std::string("pack_test_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }

  std::filesystem::path folder_;
};

TEST_F(PackFolderTest, LoadsEveryYamlFile) {
  Write("a.yaml", Usage("a", ""));
  Write("b.yaml", kGood);
  Write("README.md", "not a pack");
  const auto set = PackSet::LoadFolder(folder_.string());
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->packs().size(), 2u);
}

TEST_F(PackFolderTest, RefusesMissingEmptyAndBrokenFolders) {
  EXPECT_EQ(PackSet::LoadFolder((folder_ / "no").string()).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(PackSet::LoadFolder(folder_.string()).status().code(), absl::StatusCode::kFailedPrecondition);
  Write("a.yaml", "id: a\nid: b\n");
  const auto broken = PackSet::LoadFolder(folder_.string());
  EXPECT_EQ(broken.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(broken.status().message()), HasSubstr("a.yaml:2:1:"));
  Write("a.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_EQ(PackSet::LoadFolder(folder_.string()).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::policy
