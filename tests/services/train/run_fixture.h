// A real ledger service in this process with a frozen dataset, and runs over it.
#ifndef TESTS_SERVICES_TRAIN_RUN_FIXTURE_H_
#define TESTS_SERVICES_TRAIN_RUN_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "ledger/hex.h"
#include "ledger/signed_statement.h"
#include "ledger/statement.h"
#include "ledger/uuid.h"
#include "retort/teacher/v1/payload.pb.h"
#include "services/edge/status.h"
#include "services/ledger/ledger_operations.h"
#include "services/ledger/ledger_service.h"
#include "services/train/run.h"
#include "tests/student/training/byte_tokenizer.h"

namespace retort::train {

namespace wire = retort::ledger::v1;

inline constexpr char kTime[] = "2026-01-02T03:04:05.000006Z";
inline constexpr char kProject[] = "projects/demo";
inline constexpr char kJob[] = "projects/demo/jobs/one";
inline constexpr char kJobUid[] = "0f8fad5b-d9cb-469f-a165-70867728950e";

// Six samples to train on and two held out.
class RunFixture : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "train_run_test_" + std::to_string(getpid());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    services::ProjectLogsOptions options;
    options.data_dir = folder_ + "/ledger";
    options.deployment = "retort.example";
    options.log_key = &log_key_;
    options.trusted_keys = {
        {"teacher", teacher_.vkey()}, {"policy", policy_.vkey()}, {"trainer", trainer_.vkey()}};
    options.now_us = [this] { return now_us_++; };
    logs_ = std::make_unique<services::ProjectLogs>(std::move(options));
    ASSERT_TRUE(logs_->OpenAll().ok());
    services::OperationHost::Options operations;
    operations.folder = folder_ + "/operations";
    auto host = services::OperationHost::Open(std::move(operations), services::LedgerVerbs(logs_.get()));
    ASSERT_TRUE(host.ok()) << host.status();
    operations_ = *std::move(host);
    service_ = std::make_unique<services::LedgerServiceImpl>(logs_.get(), operations_.get(),
                                                             services::PageTokens::WithRandomKey());
    StartServer();
    stub_ = wire::LedgerService::NewStub(server_->InProcessChannel({}));
    tokenizer_ = MakeTokenizer();
    for (int64_t i = 0; i < 8; ++i) AppendSample(i, i < 6 ? "train" : "held_out");
    CreateDataset();
  }
  virtual std::unique_ptr<student::Tokenizer> MakeTokenizer() { return student::ByteTokenizer(); }
  void TearDown() override {
    StopServer();
    logs_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string Address() const { return "unix:" + folder_ + "/socket"; }
  void StartServer() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(Address(), grpc::InsecureServerCredentials());
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void StopServer() {
    if (server_ != nullptr) server_->Shutdown();
    server_.reset();
  }

  static void Add(const ledger::SignedStatement& from, wire::AppendEntryRequest* request) {
    auto* to = request->add_statements();
    to->set_statement(from.statement);
    to->set_signature(std::string(from.signature.begin(), from.signature.end()));
    to->set_key_id(std::string(from.key_id.begin(), from.key_id.end()));
  }

  void AppendSample(int64_t index, const std::string& split) {
    teacher::v1::SamplePayload payload;
    auto* message = payload.add_messages();
    message->set_role("user");
    message->set_content("question");
    payload.set_completion("answer");
    auto& trace = *payload.mutable_trace();
    trace.set_tokenizer_sha256(tokenizer_->Digest().data(), 32);
    trace.set_vocabulary_size(static_cast<uint32_t>(tokenizer_->vocabulary_size()));
    trace.set_k(2);
    for (int i = 0; i < 6; ++i) trace.add_prompt_ids(static_cast<uint32_t>(3 + (index * 17 + i * 5) % 200));
    for (int i = 0; i < 18; ++i) {
      const auto id = static_cast<uint32_t>(3 + (index * 11 + i * 7) % 200);
      trace.add_completion_ids(id);
      trace.add_completion_logprobs(-0.1f);
      trace.add_top_ids(id);
      trace.add_top_ids(id + 1);
      trace.add_top_logprobs(std::log(0.9f));
      trace.add_top_logprobs(std::log(0.05f));
      trace.add_tail_logprobs(std::log(0.05f));
    }
    wire::AppendEntryRequest request;
    request.set_parent(kProject);
    request.set_kind(wire::ENTRY_KIND_SAMPLE);
    request.set_payload(payload.SerializeAsString());
    request.set_salt(std::string(32, static_cast<char>('a' + index)));

    ledger::CaptureStatement capture;
    capture.project = kProject;
    capture.request_id = ledger::SampleRequestId(kJobUid, index, 1);
    capture.job = kJob;
    capture.job_uid = kJobUid;
    capture.prompt_id = "p" + std::to_string(index);
    capture.index = index;
    capture.split = split;
    capture.teacher = "projects/demo/teachers/t";
    capture.provider = "huggingface";
    capture.channel = "open_weights";
    capture.model_requested = capture.model_answered = "m";
    capture.endpoint = "local";
    capture.tokenizer_sha256 = ledger::HexEncode(tokenizer_->Digest());
    capture.temperature = "0";
    capture.top_p = "1";
    capture.max_tokens = 18;
    capture.top_logprobs = 2;
    capture.completion_tokens = 18;
    capture.prompt_tokens = 6;
    capture.requested_time = capture.completed_time = kTime;
    capture.finish_reason = "length";
    capture.payload_digest = ledger::HexEncode(ledger::SaltedDigest(request.salt(), request.payload()));
    capture.payload_bytes = static_cast<int64_t>(request.payload().size());
    const auto signed_capture =
        ledger::SignStatement(teacher_, ledger::StatementType::kCapture, capture.ToJson());
    Add(signed_capture, &request);

    ledger::DecisionStatement decision;
    decision.project = kProject;
    decision.request_id = ledger::UuidFromDigest(ledger::Sha256("decision" + capture.request_id));
    decision.subject_kind = "sample";
    decision.subject_digest = ledger::HexEncode(ledger::Sha256(signed_capture.statement));
    decision.job = kJob;
    decision.job_uid = kJobUid;
    decision.effect = "allow";
    decision.facts = "{}";
    decision.facts_digest = ledger::HexEncode(ledger::Sha256(decision.facts));
    decision.generated_time = decision.decided_time = kTime;
    Add(ledger::SignStatement(policy_, ledger::StatementType::kDecision, decision.ToJson()), &request);

    wire::Entry entry;
    grpc::ClientContext context;
    const auto status = services::FromGrpcStatus(stub_->AppendEntry(&context, request, &entry));
    ASSERT_TRUE(status.ok()) << status;
  }

  void CreateDataset() {
    wire::CreateDatasetRequest request;
    request.set_parent(kProject);
    request.set_dataset_id("one");
    request.set_job(kJob);
    request.set_job_uid(kJobUid);
    request.set_request_id("00000000-0000-4000-8000-000000000001");
    wire::Entry entry;
    grpc::ClientContext context;
    const auto status = services::FromGrpcStatus(stub_->CreateDataset(&context, request, &entry));
    ASSERT_TRUE(status.ok()) << status;
    dataset_entry_ = static_cast<uint64_t>(entry.index());
    wire::GetCheckpointRequest head;
    head.set_name("projects/demo/ledgers/main");
    wire::Checkpoint checkpoint;
    grpc::ClientContext head_context;
    ASSERT_TRUE(stub_->GetCheckpoint(&head_context, head, &checkpoint).ok());
    log_vkey_ = checkpoint.vkey();
  }

  // Milestones, or with phase usage what attempts used.
  std::vector<ledger::TrainingStatement> TrainingEntries(bool usage = false) {
    wire::ListEntriesRequest request;
    request.set_parent("projects/demo/ledgers/main");
    request.set_kind(wire::ENTRY_KIND_TRAINING);
    request.set_page_size(1000);
    wire::ListEntriesResponse response;
    grpc::ClientContext context;
    context.set_wait_for_ready(true);  // on a busy machine a handshake may take longer than its first attempt
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const auto status = services::FromGrpcStatus(stub_->ListEntries(&context, request, &response));
    EXPECT_TRUE(status.ok()) << status;
    std::vector<ledger::TrainingStatement> statements;
    for (const auto& entry : response.entries()) {
      auto statement = ledger::TrainingStatement::Parse(entry.statements(0).statement());
      EXPECT_TRUE(statement.ok()) << statement.status();
      if (statement.ok() && statement->is_milestone() != usage) statements.push_back(*std::move(statement));
    }
    return statements;
  }

  RunOptions Options(const std::string& run_dir) {
    RunOptions options;
    student::TrainingManifest& manifest = options.manifest;
    manifest.run = "logits";
    manifest.student = "test";
    manifest.shape = "unit";
    manifest.vocabulary_size = tokenizer_->vocabulary_size();
    manifest.tokenizer_sha256 = ledger::HexEncode(tokenizer_->Digest());
    manifest.steps = 6;
    manifest.batch_tokens = 128;
    manifest.sequence_length = 64;
    manifest.checkpoint_every = 2;
    manifest.learning_rate = 0.003;
    manifest.cross_entropy_weight = 0.25;
    options.run_dir = folder_ + "/" + run_dir;
    options.project = kProject;
    options.job = kJob;
    options.job_uid = kJobUid;
    options.log_vkey = log_vkey_;
    options.dataset_entry = dataset_entry_;
    options.threads = 1;
    options.stop = [] { return false; };
    options.log = [this](std::string_view line) { log_ += std::string(line) + "\n"; };
    return options;
  }

  absl::Status RunIt(const RunOptions& options, const ledger::SigningKey& key,
                     std::chrono::milliseconds patience = std::chrono::seconds(20)) {
    LedgerClient client(
        wire::LedgerService::NewStub(grpc::CreateChannel(Address(), grpc::InsecureChannelCredentials())),
        options.stop, options.log, patience);
    std::ostringstream out;
    Events events(out);
    const absl::Status status = train::Run(options, *tokenizer_, key, client, events);
    events_.clear();
    std::istringstream lines(out.str());
    for (std::string line; std::getline(lines, line);) events_.push_back(nlohmann::json::parse(line));
    return status;
  }

  std::vector<nlohmann::json> Of(const std::string& event) const {
    std::vector<nlohmann::json> matching;
    for (const auto& e : events_) {
      if (e["event"] == event) matching.push_back(e);
    }
    return matching;
  }

  std::string folder_, log_, log_vkey_;
  uint64_t dataset_entry_ = 0;
  int64_t now_us_ = 1'767'323'045'000'000;
  ledger::SigningKey log_key_ = *ledger::SigningKey::Generate("retort.example/log");
  ledger::SigningKey teacher_ = *ledger::SigningKey::Generate("retort.example/teacher");
  ledger::SigningKey policy_ = *ledger::SigningKey::Generate("retort.example/policy");
  ledger::SigningKey trainer_ = *ledger::SigningKey::Generate("retort.example/trainer");
  ledger::SigningKey stranger_ = *ledger::SigningKey::Generate("retort.example/stranger");
  std::unique_ptr<services::ProjectLogs> logs_;
  std::unique_ptr<services::OperationHost> operations_;
  std::unique_ptr<services::LedgerServiceImpl> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<wire::LedgerService::Stub> stub_;
  std::unique_ptr<student::Tokenizer> tokenizer_;
  std::vector<nlohmann::json> events_;
};

}  // namespace retort::train

#endif  // TESTS_SERVICES_TRAIN_RUN_FIXTURE_H_
