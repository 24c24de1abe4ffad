// The shipped packs against tests/policy/vectors.yaml: one test for each vector, and what all of them
// together must show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>

#include "policy/evaluate.h"
#include "policy/facts.h"
#include "proto/strict_yaml.h"
#include "vectors.pb.h"

namespace retort::policy {
namespace {

using ::testing::UnorderedElementsAreArray;

const std::string kSource = RETORT_SOURCE_DIR;

const testing::VectorFile& Vectors() {
  static const testing::VectorFile* const file = [] {
    auto* loaded = new testing::VectorFile;  // lives as long as the process: parameters point into it
    const absl::Status status = LoadYamlFile(kSource + "/tests/policy/vectors.yaml", loaded);
    if (!status.ok()) ADD_FAILURE() << status;
    return loaded;
  }();
  return *file;
}

const PackSet& ShippedPacks() {
  static const PackSet* const packs = [] {
    auto loaded = PackSet::LoadFolder(kSource + "/policy/packs");
    if (!loaded.ok()) ADD_FAILURE() << loaded.status();
    return new PackSet(loaded.ok() ? *std::move(loaded) : PackSet());
  }();
  return *packs;
}

std::vector<std::string> RulesOf(const Decision& decision) {
  std::vector<std::string> out;
  for (const RuleMatch& r : decision.rules)
    out.push_back(std::string(EffectName(r.effect)) + " " + r.pack + "/" + r.rule);
  return out;
}

std::vector<std::string> ObligationsOf(const Decision& decision) {
  std::vector<std::string> out;
  for (const Obligation& o : decision.obligations)
    out.push_back(o.pack + " " + o.kind + " " + o.trigger + ": " + o.text);
  return out;
}

class VectorTest : public ::testing::TestWithParam<int> {};

TEST_P(VectorTest, Decides) {
  const testing::Vector& vector = Vectors().vectors(GetParam());
  const absl::Status valid = ValidateFacts(vector.facts());
  ASSERT_TRUE(valid.ok()) << valid;
  const Decision decision = Evaluate(ShippedPacks(), vector.facts());
  EXPECT_EQ(EffectName(decision.effect), vector.effect()) << vector.about();
  EXPECT_EQ(RulesOf(decision), std::vector<std::string>(vector.rules().begin(), vector.rules().end()))
      << vector.about();
  EXPECT_THAT(ObligationsOf(decision), UnorderedElementsAreArray(vector.obligations())) << vector.about();
  EXPECT_EQ(decision.missing_inputs,
            std::vector<std::string>(vector.missing().begin(), vector.missing().end()));
}

INSTANTIATE_TEST_SUITE_P(Vectors, VectorTest, ::testing::Range(0, Vectors().vectors_size()),
                         [](const auto& info) { return Vectors().vectors(info.param).name(); });

TEST(VectorFileTest, CoversEveryNumberedCaseOrSaysWhyNot) {
  std::set<int> numbers;
  for (const testing::Vector& vector : Vectors().vectors()) {
    if (vector.name()[0] == 'V') numbers.insert(std::stoi(vector.name().substr(1, 2)));
  }
  for (const testing::NotCovered& missing : Vectors().not_covered()) {
    EXPECT_FALSE(missing.reason().empty());
    EXPECT_TRUE(numbers.insert(missing.number()).second) << missing.number() << " is both covered and not";
  }
  EXPECT_EQ(numbers.size(), 16u);
  EXPECT_EQ(*numbers.begin(), 1);
  EXPECT_EQ(*numbers.rbegin(), 16);
}

TEST(ShippedPacksTest, AllAreThere) {
  for (const char* id : {"hf.smollm2", "openai.services-agreement", "anthropic.commercial",
                         "anthropic.usage-policy", "google.gemini-api", "google.gemma-tou", "meta.llama2",
                         "meta.llama3", "meta.llama3.1", "alibaba.qwen-licence", "deepseek.api",
                         "deepseek.model-licence-1.0", "mistral.commercial", "retort.baseline"}) {
    EXPECT_NE(ShippedPacks().Find(id), nullptr) << id;
  }
}

TEST(ShippedPacksTest, FileNamesAreIds) {
  for (const LoadedPack& pack : ShippedPacks().packs()) {
    EXPECT_TRUE(std::filesystem::exists(kSource + "/policy/packs/" + pack.pack().id() + ".yaml"))
        << pack.pack().id();
  }
}

TEST(ShippedPacksTest, EveryRuleIsReachedByAVector) {
  std::set<std::string> reached;
  for (const testing::Vector& vector : Vectors().vectors()) {
    for (const std::string& rule : vector.rules()) reached.insert(rule.substr(rule.find(' ') + 1));
  }
  for (const LoadedPack& pack : ShippedPacks().packs()) {
    for (const v1::Rule& rule : pack.pack().rules()) {
      EXPECT_TRUE(reached.contains(pack.pack().id() + "/" + rule.id()))
          << pack.pack().id() << "/" << rule.id();
    }
  }
}

// The shipped packs with one rule rewritten by `edit`, which gets the rule's YAML.
PackSet Mutated(const LoadedPack& victim, const std::string& rule,
                const std::function<std::string(std::string)>& edit) {
  std::vector<std::pair<std::string, std::string>> packs;
  for (const LoadedPack& pack : ShippedPacks().packs()) {
    std::string bytes = pack.bytes();
    if (pack.pack().id() == victim.pack().id()) {
      const size_t at = bytes.find("  - id: " + rule + "\n"), next = bytes.find("\n  - id: ", at + 1);
      const size_t end = std::min({next, bytes.find("\nobligations:", at), bytes.size() - 1}) + 1;
      bytes.replace(at, end - at, edit(bytes.substr(at, end - at)));
    }
    packs.emplace_back(pack.pack().id(), std::move(bytes));
  }
  auto mutated = PackSet::FromPacks(std::move(packs));
  EXPECT_TRUE(mutated.ok()) << mutated.status();
  return mutated.ok() ? *std::move(mutated) : PackSet();
}

// A rule whose loss, or whose change into permission, no vector notices would be dead text.
TEST(ShippedPacksTest, EveryRestrictingRuleMatters) {
  for (const LoadedPack& victim : ShippedPacks().packs()) {
    for (const v1::Rule& rule : victim.pack().rules()) {
      if (rule.effect() == v1::Rule::EFFECT_ALLOW) continue;
      const std::string effect = rule.effect() == v1::Rule::EFFECT_DENY ? "effect: deny" : "effect: review";
      const PackSet lost = Mutated(victim, rule.id(), [&](const std::string&) {
        return "  - { id: " + rule.id() +
               ", clause: c, summary: s, effect: deny, when: { fact: decided_time, not_before: 9999-01-01 } "
               "}\n";
      });
      const PackSet turned = Mutated(victim, rule.id(), [&](std::string yaml) {
        yaml.replace(yaml.find(effect), effect.size(), "effect: allow");
        if (const size_t at = yaml.find("    unless_authorisation"); at != yaml.npos)
          yaml.erase(at, yaml.find('\n', at) + 1 - at);
        return yaml;
      });
      bool loss_seen = false, turn_seen = false;
      for (const testing::Vector& vector : Vectors().vectors()) {
        loss_seen |= RulesOf(Evaluate(lost, vector.facts())) !=
                     std::vector<std::string>(vector.rules().begin(), vector.rules().end());
        turn_seen |= EffectName(Evaluate(turned, vector.facts()).effect) != vector.effect();
      }
      EXPECT_TRUE(loss_seen) << victim.pack().id() << "/" << rule.id();
      // An unconfirmed pack says review whatever its rules allow.
      const bool stays_review =
          victim.confidence() == "unconfirmed" && rule.effect() == v1::Rule::EFFECT_REVIEW;
      EXPECT_NE(turn_seen, stays_review) << victim.pack().id() << "/" << rule.id();
    }
  }
}

// "read" is a claim that somebody can check: where the document is, of which day, and where in it each rule
// stands.
TEST(ShippedPacksTest, ReadPacksSayWhereEachClauseStands) {
  int read = 0;
  for (const LoadedPack& pack : ShippedPacks().packs()) {
    if (pack.pack().confidence() != v1::Pack::CONFIDENCE_READ) continue;
    ++read;
    const std::string& id = pack.pack().id();
    EXPECT_FALSE(pack.pack().document_date().empty()) << id;
    if (pack.pack().kind() != v1::Pack::KIND_COMPANY)
      EXPECT_THAT(pack.pack().source_url(), ::testing::StartsWith("https://")) << id;
    for (const v1::Rule& rule : pack.pack().rules()) {
      EXPECT_FALSE(rule.clause().empty()) << id << "/" << rule.id();
      EXPECT_THAT(rule.clause(), ::testing::Not(::testing::HasSubstr("none"))) << id << "/" << rule.id();
      EXPECT_FALSE(rule.summary().empty()) << id << "/" << rule.id();
    }
  }
  EXPECT_GE(read, 18);
}

// docs/formats/policy.md shows a pack; what it shows must load.
TEST(DocumentationTest, ExamplePackLoads) {
  std::ifstream file(kSource + "/docs/formats/policy.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  const std::string fence = "```yaml\n";
  const size_t begin = page.find(fence);
  ASSERT_NE(begin, std::string::npos);
  const size_t from = begin + fence.size(), end = page.find("```", from);
  ASSERT_NE(end, std::string::npos);
  const auto pack = LoadedPack::Parse("example", page.substr(from, end - from));
  EXPECT_TRUE(pack.ok()) << pack.status();
}

TEST(DocumentationTest, EveryFactIsListed) {
  std::ifstream file(kSource + "/docs/formats/policy.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  for (const char* path : {"teacher.provider", "teacher.channel", "teacher.owned_percent",
                           "student.competition.providers", "student.monthly_active_users",
                           "screening.personal_data", "screening.secrets", "screening.findings.private_key",
                           "generated_time", "decided_time", "prompt_licence", "authorisations"}) {
    EXPECT_NE(FindFactType(path), nullptr) << path;
    EXPECT_NE(page.find("`" + std::string(path) + "`"), std::string::npos) << path;
  }
}

// The page says what was read for each pack; confidence and date there are those of the pack.
TEST(DocumentationTest, EveryShippedPackIsBacked) {
  std::ifstream file(kSource + "/docs/formats/policy.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  for (const LoadedPack& pack : ShippedPacks().packs()) {
    const std::string row = "\n| `" + pack.pack().id() + "` | " + std::string(pack.confidence()) + " | " +
                            pack.pack().document_date() + " | ";
    EXPECT_NE(page.find(row), std::string::npos) << row;
  }
}

}  // namespace
}  // namespace retort::policy
