#include "ledger/statement.h"

#include <gtest/gtest.h>

#include <set>

#include "ledger/dataset_manifest.h"
#include "ledger/digest.h"
#include "ledger/hex.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

template <typename Statement>
void ExpectRoundTrip(const Statement& statement) {
  const std::string json = statement.ToJson();
  const auto parsed = Statement::Parse(json);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->ToJson(), json);
}

std::string Replaced(std::string json, const std::string& from, const std::string& to) {
  const size_t at = json.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return json.replace(at, from.size(), to);
}

TEST(StatementTest, EveryTypeRoundTrips) {
  const SampleParts parts = MakeSampleParts({});
  const std::string digest(64, 'd');
  const std::string id = UuidOf("x");
  ExpectRoundTrip(parts.capture);
  DecisionStatement decision = parts.decision;
  decision.obligations = {
      {.pack = "p", .rule = "r", .kind = "name", .trigger = "release", .text = "t\n\"quoted\""}};
  decision.missing_inputs = {"job.purpose", "screening"};
  ExpectRoundTrip(decision);
  ExpectRoundTrip(
      PolicyPackStatement{kProject, id, "pack", "1", digest, "https://example.com", "2026-01-01", "high"});
  ExpectRoundTrip(
      ReviewStatement{kProject, id, 3, digest, "approve", "somebody", "fine", "2026-01-02T03:04:05.000006Z"});
  ExpectRoundTrip(DatasetStatement{kProject, id, "d", kJob, kJobUid, digest, 1, 2, 3});
  ExpectRoundTrip(MakeTraining(4, "finish", 9, digest));
  ExpectRoundTrip(MakeUsage(4, 2));
  ExpectRoundTrip(ReleaseStatement{kProject,
                                   id,
                                   kJob,
                                   kJobUid,
                                   "student",
                                   4,
                                   6,
                                   digest,
                                   {{"a/b.bin", digest, 7}},
                                   {{"logits", "0.5", "1e-3", "12", 100}},
                                   {}});
  ExpectRoundTrip(KeyStatement{kProject, id, "teacher", "vkey", "add"});
  ExpectRoundTrip(ErasureStatement{kProject, id, 3, digest, "asked", "law"});
  ExpectRoundTrip(MakeAccess("deny", 41));
}

TEST(StatementTest, AccessIsOneAllowanceOrRefusalsWithAReason) {
  const auto parse = [](AccessStatement access) { return AccessStatement::Parse(access.ToJson()).status(); };
  EXPECT_TRUE(parse(MakeAccess("allow", 1)).ok());
  EXPECT_TRUE(parse(MakeAccess("deny", 1)).ok());
  EXPECT_EQ(parse(MakeAccess("allow", 2)).message(),
            "access.decision is allow; wanted one call and no reason");
  EXPECT_EQ(parse(MakeAccess("deny", 0)).message(), "access.count is 0; wanted at least 1");
  AccessStatement wrong = MakeAccess("allow", 1);
  wrong.reason = "PERMISSION_DENIED";
  EXPECT_EQ(parse(wrong).code(), absl::StatusCode::kInvalidArgument);
  wrong = MakeAccess("deny", 1);
  wrong.reason.clear();
  EXPECT_EQ(parse(wrong).message(), "access.decision is deny; wanted a reason");
  wrong = MakeAccess("deny", 1);
  wrong.last_time = "2026-01-02T03:04:05.000005Z";
  EXPECT_EQ(parse(wrong).message(), "access.last_time is before access.first_time");
}

TEST(StatementTest, RefusesUnknownMissingAndMistypedMembers) {
  const std::string json = KeyStatement{kProject, UuidOf("x"), "teacher", "v", "add"}.ToJson();
  const auto message = [](const std::string& changed) {
    const absl::Status status = KeyStatement::Parse(changed).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << changed;
    return std::string(status.message());
  };
  EXPECT_EQ(message(Replaced(json, "\"vkey\":\"v\"", "\"vkey\":\"v\",\"x\":1")),
            "key.\"x\" is not a member of this statement");
  EXPECT_EQ(message(Replaced(json, ",\"vkey\":\"v\"", "")), "key.vkey is missing");
  EXPECT_EQ(message(Replaced(json, "\"vkey\":\"v\"", "\"vkey\":1")), "key.vkey is not a string");
  EXPECT_EQ(message(Replaced(json, "\"vkey\":\"v\"", "\"vkey\":\"\"")),
            "key.vkey is \"\"; wanted text that is not empty");
  EXPECT_EQ(message(Replaced(json, "\"add\"", "\"remove\"")),
            "key.action is \"remove\"; wanted one of add, retire");
  EXPECT_EQ(message("[]"), "key is not an object");
  message(Replaced(json, "\":", "\": "));
  message("");
}

TEST(StatementTest, ChecksFormsOfMembers) {
  const std::string json = MakeSampleParts({}).capture.ToJson();
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"\"index\":0", "\"index\":-1"},
           {"\"attempt\":1", "\"attempt\":0"},
           {"\"attempt\":1", "\"attempt\":\"1\""},
           {"\"attempt\":1", "\"attempt\":1.0"},
           {"\"seed\":42", "\"seed\":9007199254740992"},
           {"\"split\":\"train\"", "\"split\":\"test\""},
           {"\"temperature\":\"0.7\"", "\"temperature\":\".7\""},
           {"\"temperature\":\"0.7\"", "\"temperature\":\"nan\""},
           {"03:04:05.000006Z", "03:04:05Z"},
           {"2026-01-02T", "2026-02-30T"},
           {"2026-01-02T", "2026-13-02T"},
           {"T03:04", "T24:04"},
           {"\"request_id\":\"", "\"request_id\":\"A"}}) {
    EXPECT_EQ(CaptureStatement::Parse(Replaced(json, from, to)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << to;
  }
}

TEST(StatementTest, FactsMustHaveTheirDigest) {
  DecisionStatement decision = MakeSampleParts({}).decision;
  decision.facts_digest = std::string(64, '0');
  const absl::Status status = DecisionStatement::Parse(decision.ToJson()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "decision.facts_digest is not the SHA-256 of decision.facts");
}

TEST(StatementTest, NamesTheItemOfAList) {
  DecisionStatement decision = MakeSampleParts({}).decision;
  decision.rules.push_back({"p", "r", "perhaps", ""});
  EXPECT_EQ(DecisionStatement::Parse(decision.ToJson()).status().message(),
            "decision.rules[1].effect is \"perhaps\"; wanted one of allow, review, deny");
}

TEST(StatementTest, MessagesAreBounded) {
  const KeyStatement key{kProject, UuidOf("x"), std::string(30'000, 'r') + "\n", "v", "add"};
  const absl::Status status = KeyStatement::Parse(key.ToJson()).status();
  EXPECT_LT(status.message().size(), 200u);
}

TEST(StatementTest, PayloadTypesDiffer) {
  std::set<std::string_view> types;
  for (int i = 1; i <= 10; ++i) types.insert(PayloadType(static_cast<StatementType>(i)));
  EXPECT_EQ(types.size(), 10u);
}

TEST(DatasetManifestTest, RoundTripAndRules) {
  const DatasetManifest manifest{
      .samples = {{.index = 7, .leaf_hash = Sha256("a"), .prompt_id = "p", .held_out = false},
                  {.index = 6, .leaf_hash = Sha256("b"), .prompt_id = "q", .held_out = true}}};
  const auto parsed = DatasetManifest::Parse(manifest.ToJson());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->samples, manifest.samples);
  DatasetManifest wrong = manifest;
  wrong.samples[1].index = 7;
  EXPECT_EQ(DatasetManifest::Parse(wrong.ToJson()).status().code(), absl::StatusCode::kInvalidArgument);
  wrong = manifest;
  std::swap(wrong.samples[0], wrong.samples[1]);
  EXPECT_EQ(DatasetManifest::Parse(wrong.ToJson()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DatasetManifest::Parse("{}").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::ledger
