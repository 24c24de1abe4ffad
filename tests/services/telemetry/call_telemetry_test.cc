#include "services/telemetry/call_telemetry.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <mutex>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/statement.h"
#include "retort/ledger/v1/ledger.grpc.pb.h"
#include "retort/policy/v1/policy.grpc.pb.h"
#include "retort/teacher/v1/teacher.grpc.pb.h"
#include "services/telemetry/call_facts.h"

namespace retort::services {
namespace {

using testing::HasSubstr;
using testing::Not;

ledger::CaptureStatement Capture() {
  ledger::CaptureStatement capture;
  capture.project = "projects/secret-project";
  capture.request_id = "0f8fad5b-d9cb-469f-a165-70867728950e";
  capture.job = "projects/secret-project/jobs/one";
  capture.job_uid = capture.request_id;
  capture.prompt_id = "p";
  capture.split = "train";
  capture.teacher = "projects/secret-project/teachers/embedded";
  capture.provider = "huggingface";
  capture.channel = "open_weights";
  capture.model_requested = capture.model_answered = "SmolLM2";
  capture.endpoint = "local";
  capture.temperature = "0";
  capture.top_p = "1";
  capture.max_tokens = 8;
  capture.requested_time = capture.completed_time = "2026-01-02T03:04:05.000006Z";
  capture.finish_reason = "stop";
  capture.prompt_tokens = 11;
  capture.completion_tokens = 7;
  capture.payload_digest = std::string(64, 'a');
  return capture;
}

ledger::DecisionStatement Decision(const std::string& effect) {
  ledger::DecisionStatement decision;
  decision.project = "projects/secret-project";
  decision.request_id = "0f8fad5b-d9cb-469f-a165-708677289511";
  decision.subject_kind = "sample";
  decision.subject_digest = std::string(64, 'b');
  decision.job = "projects/secret-project/jobs/one";
  decision.job_uid = "0f8fad5b-d9cb-469f-a165-70867728950e";
  decision.effect = effect;
  decision.rules = {{"smollm2", "permits", "allow", "4"}, {"openai", "no-competitors", "deny", "2(c)"}};
  decision.facts = "{}";
  decision.facts_digest = ledger::HexEncode(ledger::Sha256(decision.facts));
  decision.generated_time = decision.decided_time = "2026-01-02T03:04:05.000006Z";
  return decision;
}

ledger::v1::AppendEntryRequest Sample(const std::string& effect) {
  ledger::v1::AppendEntryRequest request;
  request.set_kind(ledger::v1::ENTRY_KIND_SAMPLE);
  request.add_statements()->set_statement(Capture().ToJson());
  request.add_statements()->set_statement(Decision(effect).ToJson());
  return request;
}

class Ledger final : public ledger::v1::LedgerService::Service {
 public:
  grpc::Status AppendEntry(grpc::ServerContext*, const ledger::v1::AppendEntryRequest*,
                           ledger::v1::Entry*) override {
    return status;
  }
  grpc::Status GetCheckpoint(grpc::ServerContext*, const ledger::v1::GetCheckpointRequest*,
                             ledger::v1::Checkpoint*) override {
    return status;
  }
  grpc::Status status;
};

class Teacher final : public teacher::v1::TeacherService::Service {
 public:
  grpc::Status Extract(grpc::ServerContext*, const teacher::v1::ExtractRequest*,
                       teacher::v1::ExtractResponse* response) override {
    response->set_capture(Capture().ToJson());
    return status;
  }
  grpc::Status status;
};

class CallTelemetryTest : public testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    builder.RegisterService(&ledger_);
    builder.RegisterService(&teacher_);
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> creators;
    creators.push_back(MakeCallTelemetry(
        {.metrics = &metrics_,
         .methods = MethodsOf(
             {"retort.ledger.v1.LedgerService", "retort.teacher.v1.TeacherService", "no.such.Service"}),
         .log = [this](LogLevel level, std::string_view message, const LogFields& fields) {
           const std::lock_guard lock(mutex_);
           lines_.push_back(FormatLogLine({LogFormat::kJson, "test", ""}, level, {}, message, fields));
         }}));
    builder.experimental().SetInterceptorCreators(std::move(creators));
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown();
  }
  static void Limit(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  }
  grpc::Status Append(const ledger::v1::AppendEntryRequest& request) {
    grpc::ClientContext context;
    Limit(context);
    context.AddMetadata("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    ledger::v1::Entry entry;
    return ledger::v1::LedgerService::NewStub(channel_)->AppendEntry(&context, request, &entry);
  }
  // What a scrape shows once the server has let go of its calls.
  std::string Ended() {
    server_->Shutdown();
    server_.reset();
    return metrics_.Text();
  }

  Metrics metrics_{{"0", "0"}};
  Ledger ledger_;
  Teacher teacher_;
  std::mutex mutex_;
  std::vector<std::string> lines_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(CallTelemetryTest, ARecordedSampleIsCountedByTeacherVerdictAndRule) {
  ASSERT_TRUE(Append(Sample("deny")).ok());
  ASSERT_TRUE(Append(Sample("allow")).ok());
  ASSERT_TRUE(Append(Sample("review")).ok());
  const std::string text = Ended();
  EXPECT_THAT(
      text,
      HasSubstr(
          "retort_samples_total{rule=\"openai/no-competitors\",teacher=\"embedded\",verdict=\"deny\"} 1"));
  EXPECT_THAT(
      text,
      HasSubstr("retort_samples_total{rule=\"smollm2/permits\",teacher=\"embedded\",verdict=\"allow\"} 1"));
  EXPECT_THAT(text,
              HasSubstr("retort_samples_total{rule=\"none\",teacher=\"embedded\",verdict=\"review\"} 1"));
  EXPECT_THAT(text, HasSubstr("retort_ledger_append_seconds_count 3"));
  EXPECT_THAT(text, HasSubstr("retort_rpc_server_call_duration_seconds_count{grpc_code=\"OK\",grpc_method="
                              "\"/retort.ledger.v1.LedgerService/AppendEntry\"} 3"));
  EXPECT_THAT(text, HasSubstr("retort_rpc_in_flight 0"));
  EXPECT_THAT(text, Not(HasSubstr("secret-project")));
  EXPECT_TRUE(lines_.empty());
}

TEST_F(CallTelemetryTest, WhatTheLedgerRefusedIsNotCountedAsRecorded) {
  ledger_.status = {grpc::StatusCode::INVALID_ARGUMENT, "the signature does not verify"};
  EXPECT_EQ(Append(Sample("deny")).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ledger::v1::AppendEntryRequest broken = Sample("deny");
  broken.mutable_statements(0)->set_statement("{");
  ledger_.status = grpc::Status::OK;
  EXPECT_TRUE(Append(broken).ok());
  const std::string text = Ended();
  EXPECT_THAT(text, Not(HasSubstr("retort_samples_total{")));
  EXPECT_THAT(text, HasSubstr("grpc_code=\"INVALID_ARGUMENT\""));
  EXPECT_TRUE(lines_.empty());  // the caller's mistake, not ours
}

TEST_F(CallTelemetryTest, CorruptionIsCountedAndLoggedWithItsPlaceInTheTrace) {
  ledger_.status = {grpc::StatusCode::DATA_LOSS, "entry 7 does not match the tree"};
  EXPECT_EQ(Append(Sample("allow")).error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_THAT(Ended(), HasSubstr("retort_ledger_verify_failures_total 1"));
  ASSERT_EQ(lines_.size(), 1u);
  EXPECT_THAT(lines_[0], HasSubstr("\"level\":\"error\",\"msg\":\"entry 7 does not match the tree\""));
  EXPECT_THAT(lines_[0], HasSubstr("\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\""));
  EXPECT_THAT(lines_[0],
              HasSubstr("\"method\":\"/retort.ledger.v1.LedgerService/AppendEntry\",\"code\":\"DATA_LOSS\""));
}

TEST_F(CallTelemetryTest, AFaultOfEveryCallDoesNotFillTheLog) {
  ledger_.status = {grpc::StatusCode::UNAVAILABLE, "the disk is full"};
  for (int i = 0; i < 10 * kFaultLinesPerSecond; ++i) Append(ledger::v1::AppendEntryRequest());
  // A second's worth for each second that the calls took, and the one that they began in.
  EXPECT_LT(lines_.size(), 100u);
  EXPECT_GE(lines_.size(), static_cast<size_t>(kFaultLinesPerSecond));
  EXPECT_THAT(lines_[0], HasSubstr("\"level\":\"warning\""));
}

TEST_F(CallTelemetryTest, TokensOfATeacher) {
  teacher::v1::ExtractResponse response;
  const auto stub = teacher::v1::TeacherService::NewStub(channel_);
  for (const auto code : {grpc::StatusCode::OK, grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::NOT_FOUND}) {
    teacher_.status = {code, code == grpc::StatusCode::OK ? "" : "x"};
    grpc::ClientContext context;
    Limit(context);
    EXPECT_EQ(stub->Extract(&context, {}, &response).error_code(), code);
  }
  const std::string text = Ended();
  EXPECT_THAT(text, HasSubstr("retort_teacher_request_seconds_count 2"));  // NOT_FOUND asked none
  EXPECT_THAT(text, HasSubstr("retort_teacher_tokens_total{direction=\"input\"} 11"));
  EXPECT_THAT(text, HasSubstr("retort_teacher_tokens_total{direction=\"output\"} 7"));
}

TEST_F(CallTelemetryTest, InventedMethodsAreOne) {
  const auto policy = policy::v1::PolicyService::NewStub(channel_);  // not served here
  grpc::ClientContext context;
  Limit(context);
  policy::v1::Policy response;
  EXPECT_EQ(policy->GetPolicy(&context, {}, &response).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  const std::string text = Ended();
  EXPECT_THAT(text, HasSubstr("grpc_method=\"_OTHER\""));
  EXPECT_THAT(text, Not(HasSubstr("PolicyService")));
}

TEST(CodeNameTest, AsGrpcNamesThem) {
  EXPECT_EQ(CodeName(0), "OK");
  EXPECT_EQ(CodeName(grpc::StatusCode::UNAUTHENTICATED), "UNAUTHENTICATED");
  EXPECT_EQ(CodeName(grpc::StatusCode::DATA_LOSS), "DATA_LOSS");
  EXPECT_EQ(CodeName(17), "UNKNOWN");
  EXPECT_EQ(CodeName(-1), "UNKNOWN");
}

}  // namespace
}  // namespace retort::services
