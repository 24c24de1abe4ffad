#include "policy/facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/protobuf/util/message_differencer.h"
#include "proto/strict_yaml.h"

namespace retort::policy {
namespace {

using ::testing::HasSubstr;

v1::Facts FactsOf(std::string_view yaml) {
  v1::Facts facts;
  const absl::Status status = LoadYaml(yaml, "facts", &facts);
  EXPECT_TRUE(status.ok()) << status;
  return facts;
}

constexpr std::string_view kEverything = R"(
teacher: { provider: openai, channel: first_party_api, model: m, model_answered: m2, account_class: api, account_region: US,
  acquired_time: 2024-12-15, owner_region: DE, owned_percent: 100, modality: text, extraction_mode: scripted }
student: { kind: general_llm, distributed: true, hosted: false, sold: false, competition: { declared_by: me, providers: [a, b] },
  monthly_active_users: 9007199254740991, name: "n\"é", base_model: "", use: commercial }
screening: { findings: { email: 2, api_key: 1 }, refusal: true, finish_reason: stop }
generated_time: 2026-01-02T03:04:05.000006Z
decided_time: 2026-01-03
prompt_licence: own
authorisations: [x, y]
lineage: [{ provider: meta }]
)";

TEST(FactsJsonTest, WritesTheDocumentedForm) {
  EXPECT_EQ(
      FactsToCanonicalJson(FactsOf(kEverything)),
      R"({"authorisations":["x","y"],"decided_time":"2026-01-03T00:00:00.000000Z",)"
      R"("generated_time":"2026-01-02T03:04:05.000006Z","lineage":[{"provider":"meta"}],"prompt_licence":"own",)"
      R"("screening":{"findings":{"api_key":1,"email":2},"finish_reason":"stop","refusal":true},)"
      R"("student":{"base_model":"","competition":{"declared_by":"me","providers":["a","b"]},"distributed":true,)"
      R"("hosted":false,"kind":"general_llm","monthly_active_users":9007199254740991,"name":"n\"é","sold":false,)"
      R"("use":"commercial"},"teacher":{"account_class":"api","account_region":"US",)"
      R"("acquired_time":"2024-12-15T00:00:00.000000Z","channel":"first_party_api","extraction_mode":"scripted",)"
      R"("modality":"text","model":"m","model_answered":"m2","owned_percent":100,"owner_region":"DE",)"
      R"("provider":"openai"}})");
}

TEST(FactsJsonTest, LeavesOutWhatIsUnset) {
  EXPECT_EQ(FactsToCanonicalJson(v1::Facts()), "{}");
  EXPECT_EQ(
      FactsToCanonicalJson(FactsOf("student: { competition: { declared_by: me } }\nscreening: {}")),
      R"({"screening":{"finish_reason":"","refusal":false},"student":{"competition":{"declared_by":"me"}}})");
}

TEST(FactsJsonTest, ReadsWhatItWrites) {
  for (const std::string_view yaml :
       {kEverything, std::string_view(""), std::string_view("teacher: {}\nscreening: {}"),
        std::string_view("student: { competition: { declared_by: me } }")}) {
    const v1::Facts facts = FactsOf(yaml);
    const std::string json = FactsToCanonicalJson(facts);
    const auto read = FactsFromCanonicalJson(json);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(facts, *read)) << json;
    EXPECT_EQ(FactsToCanonicalJson(*read), json);
  }
}

TEST(FactsJsonTest, RefusesWhatItWouldNotWrite) {
  const std::pair<const char*, const char*> cases[] = {
      {"", ""},
      {"[]", "an object"},
      {"{\"x\":1}", "facts.x: saw an unknown member"},
      {"{\"teacher\":{\"x\":1}}", "facts.teacher.x: saw an unknown member"},
      {"{\"teacher\":1}", "facts.teacher: saw number, wanted an object"},
      {"{\"teacher\":{\"provider\":1}}", "facts.teacher.provider: saw number, wanted a string"},
      {"{\"teacher\":{\"owned_percent\":\"1\"}}", "wanted an integer"},
      {"{\"teacher\":{\"owned_percent\":101}}", "wanted 0 to 100"},
      {"{\"teacher\":{\"owned_percent\":4294967296}}", "32 bits"},
      {"{\"student\":{\"sold\":1}}", "wanted true or false"},
      {"{\"student\":{\"monthly_active_users\":-1}}", "facts.student.monthly_active_users: saw -1"},
      {"{\"student\":{\"competition\":{}}}", "facts.student.competition.declared_by: saw nothing"},
      {"{\"student\":{\"competition\":{\"declared_by\":\"\"}}}", "who declared it"},
      {"{\"screening\":{\"finish_reason\":\"stop\"}}", "facts.screening.refusal: saw nothing"},
      {"{\"screening\":{\"findings\":{},\"finish_reason\":\"stop\",\"refusal\":false}}", "not empty"},
      {"{\"screening\":{\"findings\":{\"email\":0},\"finish_reason\":\"stop\",\"refusal\":false}}",
       "at least 1"},
      {"{\"screening\":{\"findings\":{\"name\":1},\"finish_reason\":\"stop\",\"refusal\":false}}",
       "unknown kind"},
      {"{\"screening\":{\"findings\":{\"email\":\"1\"},\"finish_reason\":\"stop\",\"refusal\":false}}",
       "integers"},
      {"{\"authorisations\":[]}", "not empty"},
      {"{\"authorisations\":[1]}", "facts.authorisations[0]: saw number"},
      {"{\"lineage\":[1]}", "facts.lineage[0]: saw number"},
      {"{\"generated_time\":1}", "wanted a time"},
      {"{\"generated_time\":\"2026-01-02\"}", "wanted a time"},
      {"{ }", ""},
      {"{\"teacher\":{},\"student\":{}}", ""},
  };
  for (const auto& [json, message] : cases) {
    const auto read = FactsFromCanonicalJson(json);
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument) << json;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(message)) << json;
  }
  EXPECT_EQ(FactsFromCanonicalJson("{\"prompt_licence\":\"" + std::string(kFactsJsonSizeMax, 'a') + "\"}")
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ValidateFactsTest, BoundsEverything) {
  v1::Facts facts = FactsOf(kEverything);
  EXPECT_TRUE(ValidateFacts(facts).ok());
  const auto expect = [](const v1::Facts& bad, const char* message) {
    const absl::Status status = ValidateFacts(bad);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  v1::Facts bad = facts;
  bad.mutable_teacher()->set_model(std::string(257, 'a'));
  expect(bad, "facts.teacher.model: saw 257 bytes");
  bad = facts;
  bad.mutable_teacher()->set_model("\xff");
  expect(bad, "not UTF-8");
  bad = facts;
  for (int i = 0; i < 17; ++i) bad.add_lineage();
  expect(bad, "facts.lineage: saw 18 elements, wanted at most 16");
  bad = facts;
  for (int i = 0; i < 65; ++i) bad.add_authorisations("a");
  expect(bad, "facts.authorisations: saw 67 elements");
  bad = facts;
  bad.mutable_lineage(0)->set_owned_percent(-1);
  expect(bad, "facts.lineage[0].owned_percent");
  bad = facts;
  bad.mutable_generated_time()->set_nanos(1);
  expect(bad, "facts.generated_time: saw 1 nanoseconds");
  bad = facts;
  bad.mutable_decided_time()->set_seconds(253402300800);
  expect(bad, "years 1 to 9999");
  bad = facts;
  bad.mutable_student()->set_monthly_active_users(int64_t{1} << 53);
  expect(bad, "monthly_active_users");
}

TEST(TimeTest, FormatsAndParses) {
  google::protobuf::Timestamp time;
  EXPECT_EQ(FormatTime(time), "1970-01-01T00:00:00.000000Z");
  time.set_seconds(-62135596800);
  EXPECT_EQ(FormatTime(time), "0001-01-01T00:00:00.000000Z");
  time.set_seconds(253402300799);
  time.set_nanos(999999000);
  EXPECT_EQ(FormatTime(time), "9999-12-31T23:59:59.999999Z");
  EXPECT_EQ(FormatTime(*ParseTime("2024-02-29T12:30:01.123456Z")), "2024-02-29T12:30:01.123456Z");
}

TEST(TimeTest, RefusesOtherForms) {
  for (const char* text :
       {"", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.00000Z", "2026-01-02T03:04:05.0000000Z",
        "2026-02-30T03:04:05.000000Z", "2026-01-02T24:04:05.000000Z", "2026-01-02T03:04:60.000000Z",
        "0000-01-02T03:04:05.000000Z", "2026-01-02t03:04:05.000000Z", "2026-01-02T03:04:05.000000z",
        "2026-01-02T03:04:05.00000 Z", "+026-01-02T03:04:05.000000Z"}) {
    EXPECT_EQ(ParseTime(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ReadFactTest, ReadsEveryPath) {
  const v1::Facts facts = FactsOf(kEverything);
  const auto read = [&](const char* path) { return ReadFact(facts, facts.teacher(), path); };
  EXPECT_EQ(read("teacher.provider").text, "openai");
  EXPECT_EQ(read("teacher.owned_percent").integer, 100);
  EXPECT_EQ(read("teacher.acquired_time").time->seconds(), 1734220800);
  EXPECT_TRUE(read("student.distributed").boolean);
  EXPECT_TRUE(read("student.hosted").known);
  EXPECT_FALSE(read("student.hosted").boolean);
  EXPECT_EQ(read("student.competition.providers").list->size(), 2);
  EXPECT_EQ(read("screening.findings.email").integer, 2);
  EXPECT_EQ(read("screening.findings.iban").integer, 0);
  EXPECT_TRUE(read("screening.findings.iban").known);
  EXPECT_EQ(read("screening.personal_data").integer, 2);
  EXPECT_EQ(read("screening.secrets").integer, 1);
  EXPECT_EQ(read("prompt_licence").text, "own");
  EXPECT_EQ(ReadFact(facts, facts.lineage(0), "teacher.provider").text, "meta");
  EXPECT_FALSE(ReadFact(facts, facts.lineage(0), "teacher.model").known);
}

TEST(ReadFactTest, UnsetIsUnknown) {
  const v1::Facts facts = FactsOf("screening: {}");
  for (const char* path :
       {"teacher.provider", "student.distributed", "student.competition.providers", "generated_time",
        "screening.refusal", "screening.personal_data", "screening.findings.email"}) {
    EXPECT_FALSE(ReadFact(facts, facts.teacher(), path).known) << path;
  }
  EXPECT_TRUE(ReadFact(facts, facts.teacher(), "authorisations").known);
  EXPECT_EQ(FindFactType("teacher"), nullptr);
  EXPECT_EQ(FindFactType("student.colour"), nullptr);
  EXPECT_FALSE(ReadFact(facts, facts.teacher(), "student.colour").known);
}

}  // namespace
}  // namespace retort::policy
