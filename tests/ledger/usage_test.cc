#include "ledger/usage.h"

#include <gtest/gtest.h>

#include <functional>

#include "ledger/statement.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

TrainingUsage Good() {
  return MakeUsage(4, 1).usage;
}

TEST(UsageTest, AcceptsWhatAddsUp) {
  EXPECT_TRUE(CheckUsage(Good()).ok()) << CheckUsage(Good());
  TrainingUsage bare = Good();
  bare.energy_source = "none";
  bare.energy_kwh = bare.energy_cost = bare.currency = bare.price_device_hour = bare.price_kwh =
      bare.device_cost = "";
  EXPECT_TRUE(CheckUsage(bare).ok()) << CheckUsage(bare);
  TrainingUsage declared = Good();
  declared.energy_source = "declared";
  declared.declared_watts = "300";
  EXPECT_TRUE(CheckUsage(declared).ok()) << CheckUsage(declared);
  // A price for energy that nothing measured: no cost of energy, never a guess.
  TrainingUsage unmeasured = Good();
  unmeasured.energy_source = "none";
  unmeasured.energy_kwh = unmeasured.energy_cost = "";
  EXPECT_TRUE(CheckUsage(unmeasured).ok()) << CheckUsage(unmeasured);
}

TEST(UsageTest, RefusesWhatDoesNotFit) {
  const std::pair<const char*, std::function<void(TrainingUsage&)>> changes[] = {
      {"last_step", [](TrainingUsage& u) { u.first_step = 3; }},
      {"last_step", [](TrainingUsage& u) { u.last_step = 1'000'001; }},
      {"tokens", [](TrainingUsage& u) { u.tokens = int64_t{1} << 50; }},
      {"ended_time", [](TrainingUsage& u) { u.ended_time = "2026-01-02T02:59:59.999999Z"; }},
      {"device_seconds", [](TrainingUsage& u) { u.device_seconds = "5400.0"; }},
      {"device_seconds", [](TrainingUsage& u) { u.device_seconds = "-1"; }},
      {"energy_kwh", [](TrainingUsage& u) { u.energy_source = "none"; }},
      {"energy_kwh", [](TrainingUsage& u) { u.energy_kwh = ""; }},
      {"energy_kwh", [](TrainingUsage& u) { u.energy_kwh = "5e-1"; }},
      {"declared_watts", [](TrainingUsage& u) { u.declared_watts = "300"; }},
      {"declared_watts", [](TrainingUsage& u) { u.energy_source = "declared"; }},
      {"currency", [](TrainingUsage& u) { u.currency = ""; }},
      {"currency", [](TrainingUsage& u) { u.currency = "euro"; }},
      {"currency", [](TrainingUsage& u) { u.price_device_hour = u.price_kwh = ""; }},
      {"price_kwh", [](TrainingUsage& u) { u.price_kwh = "0.30"; }},
      {"device_cost", [](TrainingUsage& u) { u.device_cost = "3.749999999"; }},
      {"device_cost", [](TrainingUsage& u) { u.device_cost = ""; }},
      {"energy_cost", [](TrainingUsage& u) { u.energy_cost = "0"; }},
  };
  for (const auto& [member, change] : changes) {
    TrainingUsage usage = Good();
    change(usage);
    const absl::Status status = CheckUsage(usage);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << member;
    EXPECT_NE(status.message().find(std::string("training.usage.") + member), std::string::npos) << status;
  }
}

TEST(UsageTest, CostsOutOfRangeAreRefused) {
  TrainingUsage usage = Good();
  usage.price_device_hour = usage.device_seconds = "9000000000";
  EXPECT_EQ(FillCosts(usage).code(), absl::StatusCode::kOutOfRange);
  EXPECT_FALSE(CheckUsage(usage).ok());
}

// The phase decides the members: a milestone has no usage, a usage entry no checkpoint.
TEST(UsageTest, StatementsHaveTheMembersOfTheirPhase) {
  const std::string usage = MakeUsage(4, 1).ToJson();
  EXPECT_EQ(usage.find("checkpoint_digest"), std::string::npos);
  const std::string milestone = MakeTraining(4, "start", 0, "").ToJson();
  EXPECT_EQ(milestone.find("usage"), std::string::npos);
  std::string renamed = usage;
  renamed.replace(renamed.find("\"phase\":\"usage\""), 15, "\"phase\":\"start\"");
  EXPECT_EQ(TrainingStatement::Parse(renamed).status().code(), absl::StatusCode::kInvalidArgument);
  renamed = milestone;
  renamed.replace(renamed.find("\"phase\":\"start\""), 15, "\"phase\":\"usage\"");
  EXPECT_EQ(TrainingStatement::Parse(renamed).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(UsageTest, StatementsAreCheckedWhenTheyAreRead) {
  TrainingStatement statement = MakeUsage(4, 1);
  statement.usage.device_cost = "1";
  EXPECT_EQ(TrainingStatement::Parse(statement.ToJson()).status().message().substr(0, 25),
            "training.usage.device_cos");
  statement = MakeUsage(4, 0);
  EXPECT_EQ(TrainingStatement::Parse(statement.ToJson()).status().message(),
            "training.usage.attempt is 0; wanted at least 1");
}

// What logs held before there were usage entries reads back to the same bytes.
TEST(UsageTest, OlderMilestonesKeepTheirBytes) {
  const std::string old =
      R"({"checkpoint_digest":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","dataset_entry":10,)"
      R"("job":"projects/demo/jobs/one","job_uid":"u","loss":"1.25","manifest_sha256":)"
      R"("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","phase":"checkpoint","previous_digest":)"
      R"("cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc","project":"projects/demo","request_id":)"
      R"("a7937b64-b8ca-858f-8372-1bb6bacf5c78","run":"logits","step":7,"transcript_digest":)"
      R"("dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"})";
  const auto parsed = TrainingStatement::Parse(old);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->ToJson(), old);
}

}  // namespace
}  // namespace retort::ledger
