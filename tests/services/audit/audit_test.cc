#include "services/audit/audit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "services/demo/tamper.h"
#include "tests/services/audit/pack_builder.h"

namespace retort::services {
namespace {

namespace fs = std::filesystem;

PackBuilder HonestPack() {
  PackBuilder builder;
  builder.AddPack();
  builder.AddJobDecision();
  for (int64_t i = 0; i < 5; ++i) builder.AddSample(i);
  builder.AddSample(5, {{"email", 1}});
  return builder;
}

AuditReport Audit(const std::string& folder, const std::string& vkey) {
  auto report = AuditEvidence(folder, vkey, nullptr);
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *std::move(report) : AuditReport{};
}

// The pack with one of the demo's damages; expects a failure that names the place.
void ExpectFound(const std::string& name,
                 const std::function<absl::StatusOr<std::string>(const std::string&)>& damage) {
  const PackBuilder builder = HonestPack();
  const std::string folder = builder.Write(name);
  auto place = damage(folder);
  ASSERT_TRUE(place.ok()) << place.status();
  const AuditReport report = Audit(folder, builder.log_vkey());
  EXPECT_FALSE(report.verified());
  const std::string verdict = report.ledger.Verdict();
  EXPECT_EQ(verdict.rfind("FAILED: ", 0), 0u) << verdict;
  EXPECT_NE(verdict.find(*place), std::string::npos) << verdict << " should name " << *place;
}

TEST(AuditEvidenceTest, VerifiesAnHonestPack) {
  const PackBuilder builder = HonestPack();
  const AuditReport report = Audit(builder.Write("honest"), builder.log_vkey());
  EXPECT_EQ(report.ledger.Verdict(), "VERIFIED");
  EXPECT_EQ(report.samples_allowed, 5u);
  EXPECT_EQ(report.samples_review, 1u);
  EXPECT_EQ(report.samples_denied, 0u);
  EXPECT_EQ(report.jobs_allowed, 1u);
  ASSERT_EQ(report.keys.size(), 2u);
  EXPECT_EQ(report.keys[0].role, "teacher");
  EXPECT_EQ(report.keys[1].entry, 1u);
  ASSERT_EQ(report.packs.size(), 1u);
  EXPECT_EQ(report.packs[0].id, "test.licence");
  const auto recomputed =
      std::find_if(report.ledger.checked.begin(), report.ledger.checked.end(),
                   [](const auto& c) { return c.what.find("computed again") != std::string::npos; });
  ASSERT_NE(recomputed, report.ledger.checked.end());
  EXPECT_EQ(recomputed->count, 7u);
}

TEST(AuditEvidenceTest, AnotherKeyFails) {
  const PackBuilder builder = HonestPack();
  const auto other = ledger::SigningKey::FromSeed("test/demo", std::string(32, 'x')).value();
  EXPECT_FALSE(Audit(builder.Write("other_key"), other.vkey()).verified());
}

TEST(AuditEvidenceTest, BadKeyOrMissingPackIsAnError) {
  const PackBuilder builder = HonestPack();
  EXPECT_EQ(AuditEvidence(builder.Write("bad_key"), "no vkey", nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AuditEvidence("/nowhere", builder.log_vkey(), nullptr).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(AuditEvidenceTest, NamesAFlippedByteInACapture) {
  ExpectFound("flip_capture",
              [](const std::string& pack) { return FlipInSample(pack, ledger::StatementType::kCapture); });
}

TEST(AuditEvidenceTest, NamesAFlippedByteInADecision) {
  ExpectFound("flip_decision",
              [](const std::string& pack) { return FlipInSample(pack, ledger::StatementType::kDecision); });
}

TEST(AuditEvidenceTest, NamesATruncatedFile) {
  ExpectFound("truncated", [](const std::string& pack) { return TruncateEntries(pack); });
}

TEST(AuditEvidenceTest, NamesAMissingPack) {
  const PackBuilder builder = HonestPack();
  const std::string folder = builder.Write("missing_pack");
  fs::remove_all(fs::path(folder) / "attachments");
  const AuditReport report = Audit(folder, builder.log_vkey());
  EXPECT_NE(report.ledger.Verdict().find("entry 2 (POLICY_PACK)"), std::string::npos)
      << report.ledger.Verdict();
}

// The policy service itself lies: its signature is good, but the decision does not follow from packs and
// facts.
TEST(AuditEvidenceTest, FindsADishonestDecision) {
  PackBuilder builder;
  builder.AddPack();
  builder.AddSample(0);
  builder.AddSample(1, {{"email", 1}},
                    [](ledger::DecisionStatement& decision) { decision.effect = "allow"; });
  const AuditReport report = Audit(builder.Write("dishonest"), builder.log_vkey());
  const std::string verdict = report.ledger.Verdict();
  EXPECT_EQ(verdict.rfind("FAILED: entry 4 (SAMPLE): ", 0), 0u) << verdict;
  EXPECT_NE(verdict.find("effect"), std::string::npos) << verdict;
}

TEST(AuditEvidenceTest, FindsADecisionWithoutItsPack) {
  PackBuilder with_pack;
  with_pack.AddPack();
  PackBuilder builder;
  builder.AddSample(0, {}, [&](ledger::DecisionStatement& decision) {
    decision.packs = {{"test.licence", "1", with_pack.packs().packs()[0].sha256()}};
  });
  const AuditReport report = Audit(builder.Write("no_pack"), builder.log_vkey());
  EXPECT_NE(report.ledger.Verdict().find("which no entry before it made active"), std::string::npos)
      << report.ledger.Verdict();
}

TEST(AuditTextTest, SaysWhatWasAndWasNotChecked) {
  const PackBuilder builder = HonestPack();
  const std::string text = AuditText(Audit(builder.Write("text"), builder.log_vkey()));
  EXPECT_EQ(text.rfind("VERIFIED\n", 0), 0u) << text;
  for (const char* part : {"\nCheckpoint\n", "\nSigned by\n", "\nDecisions\n", "\nPolicy packs\n",
                           "\nChecked\n", "\nNot checked\n", "the texts of the samples"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << text;
  }
}

TEST(AuditTextTest, NothingInAPackMovesTheCursor) {
  AuditReport report;
  report.ledger.findings.push_back({"\x1b[2Jentry\n0", "x\ry"});
  report.keys.push_back({"log\x1b", "a\nb", "add", 0});
  const std::string text = AuditText(report);
  for (char c : text) EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << text;
  EXPECT_EQ(text.rfind("FAILED: ?[2Jentry?0: x?y\n", 0), 0u) << text;
}

ledger::TrainingUsage Usage(int64_t attempt, const char* outcome) {
  ledger::TrainingUsage usage;
  usage.attempt = attempt;
  usage.outcome = outcome;
  usage.last_step = 10;
  usage.begun_time = usage.ended_time = "2026-01-02T03:04:05.000006Z";
  usage.device = "cpu";
  usage.device_seconds = "3600";
  usage.energy_source = "none";
  usage.currency = "EUR";
  usage.price_device_hour = "2.5";
  EXPECT_TRUE(ledger::FillCosts(usage).ok());
  return usage;
}

TEST(AuditTextTest, AddsUpWhatTrainingCost) {
  PackBuilder builder = HonestPack();
  EXPECT_EQ(AuditText(Audit(builder.Write("no_cost"), builder.log_vkey())).find("Cost of training"),
            std::string::npos);
  builder.AddAttempt(Usage(1, "lost"));
  builder.AddAttempt(Usage(2, "failed"));
  const AuditReport report = Audit(builder.Write("cost"), builder.log_vkey());
  EXPECT_EQ(report.ledger.Verdict(), "VERIFIED");
  EXPECT_EQ(report.cost.everything.attempts, 2);
  EXPECT_EQ(report.cost.everything.total.at("EUR").ToString(), "5");
  EXPECT_FALSE(report.cost.has_final);  // no student was released
  const std::string text = AuditText(report);
  EXPECT_NE(text.find("Cost of training"), std::string::npos) << text;
  EXPECT_NE(text.find("EUR 5.0000"), std::string::npos) << text;
  EXPECT_NE(text.find("not measured"), std::string::npos) << text;
  const auto json = nlohmann::json::parse(AuditJson(report));
  EXPECT_EQ(json["cost"]["everything"]["cost"]["EUR"], "5");
}

TEST(AuditEvidenceTest, FindsACostThatDoesNotAddUp) {
  PackBuilder builder = HonestPack();
  ledger::TrainingUsage usage = Usage(1, "finished");
  usage.device_cost = "0.01";
  builder.AddAttempt(usage);
  const AuditReport report = Audit(builder.Write("wrong_cost"), builder.log_vkey());
  EXPECT_NE(report.ledger.Verdict().find("training.usage.device_cost is \"0.01\"; wanted \"2.5\""),
            std::string::npos)
      << report.ledger.Verdict();
}

TEST(AuditJsonTest, HasTheSameFacts) {
  const PackBuilder builder = HonestPack();
  const auto json = nlohmann::json::parse(AuditJson(Audit(builder.Write("json"), builder.log_vkey())));
  EXPECT_EQ(json["verdict"], "VERIFIED");
  EXPECT_EQ(json["verified"], true);
  EXPECT_EQ(json["samples"]["allowed"], 5);
  EXPECT_EQ(json["checkpoint"]["size"], 10);
  EXPECT_EQ(json["keys"].size(), 2u);
  EXPECT_GT(json["not_checked"].size(), 2u);
}

}  // namespace
}  // namespace retort::services
