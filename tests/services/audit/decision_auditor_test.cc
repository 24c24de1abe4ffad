#include "services/audit/decision_auditor.h"

#include <gtest/gtest.h>

#include "ledger/hex.h"
#include "policy/decision_statement.h"
#include "tests/services/audit/pack_builder.h"

namespace retort::services {
namespace {

ledger::PolicyPackStatement StatementOf(const std::string& yaml) {
  const auto pack = policy::LoadedPack::Parse("pack", yaml).value();
  ledger::PolicyPackStatement statement;
  statement.id = pack.pack().id();
  statement.version = pack.pack().version();
  statement.sha256 = pack.sha256();
  return statement;
}

ledger::DecisionStatement SampleDecision(const policy::PackSet& packs, int64_t index) {
  const auto capture = PackBuilder::Capture(index);
  return policy::MakeDecisionStatement(
             packs, PackBuilder::Facts(index, {}),
             {capture.project, policy::SampleDecisionRequestId(capture.request_id), "sample",
              ledger::HexEncode(ledger::Sha256(capture.ToJson())), capture.job, capture.job_uid})
      .value();
}

TEST(DecisionAuditorTest, ComputesTheSameDecision) {
  DecisionAuditor auditor;
  ASSERT_TRUE(auditor.AddPack(StatementOf(kTestPack), kTestPack).ok());
  const auto packs = policy::PackSet::FromPacks({{"p", kTestPack}}).value();
  const auto capture = PackBuilder::Capture(3);
  const absl::Status status = auditor.Check(SampleDecision(packs, 3), &capture);
  EXPECT_TRUE(status.ok()) << status;
}

TEST(DecisionAuditorTest, RefusesAPackWithOtherBytes) {
  DecisionAuditor auditor;
  EXPECT_EQ(auditor.AddPack(StatementOf(kTestPack), std::string(kTestPack) + "\n").code(),
            absl::StatusCode::kDataLoss);
  ledger::PolicyPackStatement renamed = StatementOf(kTestPack);
  renamed.id = "other.licence";
  EXPECT_EQ(auditor.AddPack(renamed, kTestPack).code(), absl::StatusCode::kInvalidArgument);
}

TEST(DecisionAuditorTest, RefusesAPackThatNoEntryShowed) {
  DecisionAuditor auditor;
  const auto packs = policy::PackSet::FromPacks({{"p", kTestPack}}).value();
  const auto capture = PackBuilder::Capture(3);
  const absl::Status status = auditor.Check(SampleDecision(packs, 3), &capture);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("test.licence"), std::string::npos) << status;
}

TEST(DecisionAuditorTest, RefusesAnotherEffect) {
  DecisionAuditor auditor;
  ASSERT_TRUE(auditor.AddPack(StatementOf(kTestPack), kTestPack).ok());
  const auto packs = policy::PackSet::FromPacks({{"p", kTestPack}}).value();
  const auto capture = PackBuilder::Capture(3);
  auto decision = SampleDecision(packs, 3);
  decision.effect = "review";
  const absl::Status status = auditor.Check(decision, &capture);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("effect"), std::string::npos) << status;
}

TEST(DecisionAuditorTest, RefusesADecisionAboutAnotherCapture) {
  DecisionAuditor auditor;
  ASSERT_TRUE(auditor.AddPack(StatementOf(kTestPack), kTestPack).ok());
  const auto packs = policy::PackSet::FromPacks({{"p", kTestPack}}).value();
  const auto other = PackBuilder::Capture(4);
  EXPECT_EQ(auditor.Check(SampleDecision(packs, 3), &other).code(), absl::StatusCode::kDataLoss);
}

TEST(DecisionAuditorTest, GathersDutiesOfAllowedSamples) {
  const std::string yaml = std::string(kTestPack) + R"(obligations:
  - id: name
    kind: name_prefix
    trigger: on_distribute_student
    text: Test
)";
  std::string with_duty = yaml;
  with_duty.replace(with_duty.find("    effect: allow\n"), 18,
                    "    effect: allow\n    obligations: [name]\n");
  auto parsed = policy::LoadedPack::Parse("p", with_duty);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  DecisionAuditor auditor;
  ASSERT_TRUE(auditor.AddPack(StatementOf(with_duty), with_duty).ok());
  const auto packs = policy::PackSet::FromPacks({{"p", with_duty}}).value();
  const auto capture = PackBuilder::Capture(3);
  ASSERT_TRUE(auditor.Check(SampleDecision(packs, 3), &capture).ok());
  const auto duties = auditor.ObligationsOf(capture.job_uid);
  ASSERT_EQ(duties.size(), 1u);
  EXPECT_EQ(duties[0].kind, "name_prefix");
  EXPECT_TRUE(auditor.ObligationsOf("another job").empty());
  EXPECT_TRUE(auditor.UseOf("another job").distributed);
}

}  // namespace
}  // namespace retort::services
