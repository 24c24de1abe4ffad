// Decisions as statements: what is stated can be computed again, and any change to it is named.
#include "policy/decision_statement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "policy/facts.h"
#include "proto/strict_yaml.h"

namespace retort::policy {
namespace {

using ::testing::HasSubstr;

const PackSet& Shipped() {
  static const PackSet* const packs =
      new PackSet(*PackSet::LoadFolder(std::string(RETORT_SOURCE_DIR) + "/policy/packs"));
  return *packs;
}

v1::Facts LlamaFacts() {
  v1::Facts facts;
  const absl::Status status = LoadYaml(R"(
teacher: { provider: meta, channel: open_weights, model: Llama-3.1-8B, model_answered: Llama-3.1-8B, account_class: "",
  modality: text, extraction_mode: scripted }
student: { kind: general_llm, distributed: true, hosted: false, sold: false, competition: { declared_by: me },
  monthly_active_users: 0, use: commercial }
screening: { finish_reason: stop, findings: { email: 1 } }
generated_time: 2026-01-01
decided_time: 2026-01-02
)",
                                       "facts", &facts);
  EXPECT_TRUE(status.ok()) << status;
  return facts;
}

ledger::CaptureStatement Capture() {
  ledger::CaptureStatement c;
  c.project = "projects/p";
  c.request_id = "00000000-0000-8000-8000-000000000001";
  c.job = "projects/p/jobs/j";
  c.job_uid = "00000000-0000-4000-8000-000000000002";
  c.prompt_id = "a";
  c.split = "train";
  c.teacher = "projects/p/teachers/llama";
  c.provider = "meta";
  c.channel = "open_weights";
  c.model_requested = c.model_answered = "Llama-3.1-8B";
  c.endpoint = "local";
  c.temperature = "0";
  c.top_p = "1";
  c.max_tokens = 64;
  c.requested_time = "2025-12-31T23:59:59.000000Z";
  c.completed_time = "2026-01-01T00:00:00.000000Z";
  c.finish_reason = "stop";
  c.payload_digest = std::string(64, 'a');
  return c;
}

DecisionSubject SampleSubject() {
  const ledger::CaptureStatement capture = Capture();
  return {capture.project, SampleDecisionRequestId(capture.request_id),
          "sample",        ledger::HexEncode(ledger::Sha256(capture.ToJson())),
          capture.job,     capture.job_uid};
}

ledger::DecisionStatement Stated() {
  auto statement = MakeDecisionStatement(Shipped(), LlamaFacts(), SampleSubject());
  EXPECT_TRUE(statement.ok()) << statement.status();
  return *statement;
}

TEST(DecisionStatementTest, StatesTheWholeDecision) {
  const ledger::DecisionStatement s = Stated();
  EXPECT_EQ(s.effect, "review");
  ASSERT_EQ(s.rules.size(), 2u);
  EXPECT_EQ(s.rules[0].pack, "meta.llama3.1");
  EXPECT_EQ(s.rules[1].rule, "personal-data");
  ASSERT_EQ(s.obligations.size(), 1u);
  EXPECT_EQ(s.obligations[0].text, "Llama");
  EXPECT_EQ(s.packs.size(), Shipped().packs().size());
  EXPECT_EQ(s.facts, FactsToCanonicalJson(LlamaFacts()));
  EXPECT_EQ(s.facts_digest, ledger::HexEncode(ledger::Sha256(s.facts)));
  EXPECT_EQ(s.generated_time, "2026-01-01T00:00:00.000000Z");
  EXPECT_EQ(s.decided_time, "2026-01-02T00:00:00.000000Z");
}

TEST(DecisionStatementTest, SurvivesItsJson) {
  const std::string json = Stated().ToJson();
  const auto parsed = ledger::DecisionStatement::Parse(json);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->ToJson(), json);
  EXPECT_TRUE(RecomputeDecision(Shipped(), *parsed).ok());
}

TEST(DecisionStatementTest, JobIsNamedByItsFacts) {
  v1::Facts facts = LlamaFacts();
  facts.clear_screening();
  const auto s = MakeDecisionStatement(
      Shipped(), facts, {"projects/p", PreflightRequestId("u"), "job", "", "projects/p/jobs/j", "u"});
  ASSERT_TRUE(s.ok()) << s.status();
  EXPECT_EQ(s->effect, "allow");
  EXPECT_EQ(s->subject_digest, s->facts_digest);
  EXPECT_TRUE(RecomputeDecision(Shipped(), *s).ok());
}

TEST(DecisionStatementTest, RefusesFactsThatCannotBeStated) {
  const auto code = [](const std::function<void(v1::Facts&)>& change, const std::string& kind) {
    v1::Facts facts = LlamaFacts();
    change(facts);
    DecisionSubject subject = SampleSubject();
    subject.kind = kind;
    return MakeDecisionStatement(Shipped(), facts, subject).status().code();
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](v1::Facts& f) { f.clear_generated_time(); }, "sample"), invalid);
  EXPECT_EQ(code([](v1::Facts& f) { f.clear_decided_time(); }, "sample"), invalid);
  EXPECT_EQ(code([](v1::Facts& f) { f.clear_screening(); }, "sample"), invalid);
  EXPECT_EQ(code([](v1::Facts&) {}, "job"), invalid);
  EXPECT_EQ(code([](v1::Facts&) {}, "batch"), invalid);
  EXPECT_EQ(code([](v1::Facts& f) { f.mutable_teacher()->set_model("\xff"); }, "sample"), invalid);
  const auto fill = [](v1::Facts& f) {  // each text is short enough, all of them together are not
    for (int i = 0; i < 64; ++i) f.add_authorisations(std::string(256, '\x01'));
  };
  EXPECT_EQ(code(fill, "sample"), invalid);
}

TEST(RequestIdTest, AreUuidsOfTheSubject) {
  // printf 'retort/decision/v1\nx' | sha256sum, first 16 bytes with version 8 and variant
  EXPECT_EQ(SampleDecisionRequestId("x"), "52d32280-4d5c-88f7-a152-dd8240b141b6");
  EXPECT_EQ(PreflightRequestId("x"), "6c8d7c7b-42ea-831b-b941-aa7e36b84d54");
  EXPECT_NE(SampleDecisionRequestId("x"), SampleDecisionRequestId("y"));
}

TEST(RecomputeTest, NamesEveryChange) {
  const struct {
    std::function<void(ledger::DecisionStatement&)> change;
    const char* message;
  } cases[] = {
      {[](auto& s) { s.effect = "allow"; }, "decision.effect: saw \"allow\", wanted \"review\""},
      {[](auto& s) { s.rules.pop_back(); },
       "decision.rules[1]: saw \"nothing\", wanted \"retort.baseline personal-data"},
      {[](auto& s) { s.rules.push_back(s.rules[0]); }, "decision.rules[2]: saw \"meta.llama3.1 "},
      {[](auto& s) { s.rules[0].clause += "x"; }, "decision.rules[0]"},
      {[](auto& s) { s.rules[1].effect = "allow"; }, "decision.rules[1]"},
      {[](auto& s) { s.obligations.clear(); }, "decision.obligations[0]: saw \"nothing\""},
      {[](auto& s) { s.obligations[0].text = "L"; }, "decision.obligations[0]"},
      {[](auto& s) { s.missing_inputs.push_back("x"); },
       "decision.missing_inputs[0]: saw \"x\", wanted \"nothing\""},
      {[](auto& s) { s.facts_digest = std::string(64, '0'); }, "decision.facts_digest"},
      {[](auto& s) { s.generated_time = s.decided_time; }, "decision.generated_time"},
      {[](auto& s) { s.decided_time = s.generated_time; }, "decision.decided_time"},
      {[](auto& s) { s.facts = "{}"; }, "decision.facts"},
      {[](auto& s) { s.facts = "nonsense"; }, "decision.facts"},
      {[](auto& s) { s.facts.replace(s.facts.find("\"email\":1"), 9, "\"email\":2"); },
       "decision.facts_digest"},
      {[](auto& s) { s.subject_kind = "job"; }, "decision.facts"},
  };
  for (const auto& c : cases) {
    ledger::DecisionStatement statement = Stated();
    c.change(statement);
    const absl::Status status = RecomputeDecision(Shipped(), statement);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(RecomputeTest, SubjectOfAJobIsItsFacts) {
  v1::Facts facts = LlamaFacts();
  facts.clear_screening();
  auto s = *MakeDecisionStatement(
      Shipped(), facts, {"projects/p", PreflightRequestId("u"), "job", "", "projects/p/jobs/j", "u"});
  s.subject_digest = std::string(64, '0');
  EXPECT_EQ(RecomputeDecision(Shipped(), s).code(), absl::StatusCode::kDataLoss);
}

TEST(RecomputeTest, OtherPacksSayNothing) {
  EXPECT_EQ(RecomputeDecision(PackSet(), Stated()).code(), absl::StatusCode::kFailedPrecondition);
  ledger::DecisionStatement statement = Stated();
  statement.packs[0].sha256 = std::string(64, '0');
  const absl::Status status = RecomputeDecision(Shipped(), statement);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("packs[0]"));
}

TEST(CaptureTest, FillsWhatTheCaptureKnows) {
  v1::Facts facts;
  facts.mutable_teacher()->set_provider("wrong");
  facts.mutable_teacher()->set_account_region("DE");
  facts.mutable_teacher()->set_owner_region("FR");
  facts.mutable_teacher()->mutable_acquired_time()->set_seconds(1);
  ASSERT_TRUE(FillFactsFromCapture(Capture(), &facts).ok());
  EXPECT_EQ(
      FactsToCanonicalJson(facts),
      R"({"generated_time":"2026-01-01T00:00:00.000000Z","teacher":{"account_class":"","channel":"open_weights",)"
      R"("modality":"text","model":"Llama-3.1-8B","model_answered":"Llama-3.1-8B",)"
      R"("owner_region":"FR","provider":"meta"}})");
  ledger::CaptureStatement capture = Capture();
  capture.acquired_time = "2025-01-01T00:00:00.000000Z";
  capture.account_region = "US";
  ASSERT_TRUE(FillFactsFromCapture(capture, &facts).ok());
  EXPECT_EQ(facts.teacher().account_region(), "US");
  EXPECT_EQ(FormatTime(facts.teacher().acquired_time()), capture.acquired_time);
  capture.model_answered = std::string(255, 'm') + "\xc3\xa9" + std::string(1000, 'm');  // cut before the é
  ASSERT_TRUE(FillFactsFromCapture(capture, &facts).ok());
  EXPECT_EQ(facts.teacher().model_answered(), std::string(255, 'm'));
  EXPECT_TRUE(ValidateFacts(facts).ok());
  capture.completed_time = "now";
  EXPECT_EQ(FillFactsFromCapture(capture, &facts).code(), absl::StatusCode::kInvalidArgument);
}

TEST(CaptureTest, DecisionBelongsToItsCapture) {
  const absl::Status status = CheckDecisionAgainstCapture(Stated(), Capture().ToJson());
  EXPECT_TRUE(status.ok()) << status;
}

TEST(CaptureTest, NamesWhatDoesNotBelong) {
  const struct {
    std::function<void(ledger::DecisionStatement&)> change;
    const char* message;
  } cases[] = {
      {[](auto& s) { s.subject_kind = "job"; }, "decision.subject_kind"},
      {[](auto& s) { s.subject_digest = std::string(64, '0'); }, "decision.subject_digest"},
      {[](auto& s) { s.project = "projects/q"; }, "decision.project"},
      {[](auto& s) { s.job = "projects/p/jobs/k"; }, "decision.job"},
      {[](auto& s) { s.job_uid = "k"; }, "decision.job_uid"},
      {[](auto& s) { s.request_id = "k"; }, "decision.request_id"},
      {[](auto& s) { s.facts.replace(s.facts.find("\"meta\""), 6, "\"beta\""); }, "decision.facts: saw "},
      {[](auto& s) { s.facts.replace(s.facts.find("\"stop\""), 6, "\"length\""); },
       "decision.facts.screening.finish_reason"},
      {[](auto& s) { s.facts = "[]"; }, "decision.facts"},
  };
  for (const auto& c : cases) {
    ledger::DecisionStatement statement = Stated();
    c.change(statement);
    const absl::Status status = CheckDecisionAgainstCapture(statement, Capture().ToJson());
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
  EXPECT_EQ(CheckDecisionAgainstCapture(Stated(), "{}").code(), absl::StatusCode::kDataLoss);
  ledger::CaptureStatement other = Capture();
  other.index = 7;
  EXPECT_EQ(CheckDecisionAgainstCapture(Stated(), other.ToJson()).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace retort::policy
