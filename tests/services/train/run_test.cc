#include "services/train/run.h"

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
#include "services/ledger/ledger_service.h"
#include "student/export/hugging_face.h"
#include "tests/student/training/byte_tokenizer.h"

namespace retort::train {
namespace {

namespace wire = retort::ledger::v1;

constexpr char kTime[] = "2026-01-02T03:04:05.000006Z";
constexpr char kProject[] = "projects/demo";
constexpr char kJob[] = "projects/demo/jobs/one";
constexpr char kJobUid[] = "0f8fad5b-d9cb-469f-a165-70867728950e";

// A real ledger service in this process, with a frozen dataset of six samples to train on and two held out.
class RunTest : public testing::Test {
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
    service_ =
        std::make_unique<services::LedgerServiceImpl>(logs_.get(), services::PageTokens::WithRandomKey());
    StartServer();
    stub_ = wire::LedgerService::NewStub(server_->InProcessChannel({}));
    tokenizer_ = student::ByteTokenizer();
    for (int64_t i = 0; i < 8; ++i) AppendSample(i, i < 6 ? "train" : "held_out");
    CreateDataset();
  }
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

  std::vector<ledger::TrainingStatement> TrainingEntries() {
    wire::ListEntriesRequest request;
    request.set_parent("projects/demo/ledgers/main");
    request.set_kind(wire::ENTRY_KIND_TRAINING);
    request.set_page_size(1000);
    wire::ListEntriesResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->ListEntries(&context, request, &response).ok());
    std::vector<ledger::TrainingStatement> statements;
    for (const auto& entry : response.entries()) {
      auto statement = ledger::TrainingStatement::Parse(entry.statements(0).statement());
      EXPECT_TRUE(statement.ok()) << statement.status();
      if (statement.ok()) statements.push_back(*std::move(statement));
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
  std::unique_ptr<services::LedgerServiceImpl> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<wire::LedgerService::Stub> stub_;
  std::unique_ptr<student::Tokenizer> tokenizer_;
  std::vector<nlohmann::json> events_;
};

TEST_F(RunTest, GoesFromDatasetToStudent) {
  const auto status = RunIt(Options("run"), trainer_);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_NE(log_.find("6 samples to train on, 2 held out"), std::string::npos) << log_;

  ASSERT_EQ(Of("started").size(), 1u);
  EXPECT_EQ(Of("started")[0]["resumed_step"], 0);
  EXPECT_EQ(Of("step").size(), 6u);
  EXPECT_EQ(Of("checkpoint").size(), 4u);
  const auto quality = Of("quality");
  ASSERT_EQ(quality.size(), 2u);
  EXPECT_EQ(quality[0]["student"], "untrained");
  EXPECT_EQ(quality[1]["student"], "logits");
  EXPECT_EQ(quality[1]["tokens"], 36);
  EXPECT_LT(quality[1]["kl"].get<double>(), quality[0]["kl"].get<double>());
  ASSERT_EQ(Of("finished").size(), 1u);
  const auto finished = Of("finished")[0];
  const auto verified = student::VerifyStudent(finished["student_dir"].get<std::string>(),
                                               finished["digest"].get<std::string>());
  EXPECT_TRUE(verified.ok()) << verified;

  const auto entries = TrainingEntries();
  ASSERT_EQ(entries.size(), 4u);
  const std::vector<std::string> phases = {"start", "checkpoint", "checkpoint", "finish"};
  for (size_t i = 0; i < entries.size(); ++i) {
    EXPECT_EQ(entries[i].phase, phases[i]);
    EXPECT_EQ(entries[i].step, static_cast<int64_t>(2 * i));
    EXPECT_EQ(entries[i].previous_digest, i == 0 ? "" : entries[i - 1].checkpoint_digest);
    EXPECT_EQ(entries[i].request_id, MilestoneRequestId(kJobUid, "logits", phases[i], entries[i].step));
    EXPECT_EQ(entries[i].dataset_entry, static_cast<int64_t>(dataset_entry_));
    EXPECT_EQ(entries[i].manifest_sha256, Options("run").manifest.Digest());
  }
  EXPECT_EQ(entries[3].checkpoint_digest, finished["digest"]);
}

TEST_F(RunTest, FinishedRunFinishesAgainAndAppendsNothing) {
  ASSERT_TRUE(RunIt(Options("run"), trainer_).ok());
  const auto first = Of("finished")[0];
  ASSERT_TRUE(RunIt(Options("run"), trainer_).ok());
  EXPECT_EQ(Of("finished")[0], first);
  EXPECT_EQ(Of("started")[0]["resumed_step"], 6);
  EXPECT_TRUE(Of("step").empty());
  EXPECT_EQ(TrainingEntries().size(), 4u);
}

TEST_F(RunTest, StoppedRunResumesToTheSameDigest) {
  ASSERT_TRUE(RunIt(Options("whole"), trainer_).ok());
  const std::string digest = Of("finished")[0]["digest"];
  auto options = Options("stopped");
  int asked = 0;
  options.stop = [&asked] {
    return ++asked > 12;
  };  // reading eight samples asks eight times, then once a step
  EXPECT_EQ(RunIt(options, trainer_).code(), absl::StatusCode::kCancelled);
  const size_t steps = Of("step").size();
  EXPECT_GT(steps, 0u);
  EXPECT_LT(steps, 6u);
  ASSERT_TRUE(RunIt(Options("stopped"), trainer_).ok());
  EXPECT_EQ(Of("started")[0]["resumed_step"], steps);
  EXPECT_EQ(Of("finished")[0]["digest"], digest);
  EXPECT_EQ(TrainingEntries().size(), 4u);  // the same bytes under the same request ids
}

TEST_F(RunTest, WaitsForALedgerThatIsAway) {
  StopServer();
  std::thread later([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    StartServer();
  });
  const auto status = RunIt(Options("run"), trainer_);
  later.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_NE(log_.find("trying again"), std::string::npos) << log_;
  stub_ = wire::LedgerService::NewStub(server_->InProcessChannel({}));
  EXPECT_EQ(TrainingEntries().size(), 4u);
}

TEST_F(RunTest, GivesUpOnALedgerThatStaysAway) {
  StopServer();
  EXPECT_EQ(RunIt(Options("run"), trainer_, std::chrono::milliseconds(300)).code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(RunTest, RefusesWhatDoesNotFit) {
  auto options = Options("run");
  options.manifest.tokenizer_sha256 = std::string(64, 'a');
  EXPECT_EQ(RunIt(options, trainer_).code(), absl::StatusCode::kFailedPrecondition);
  options = Options("run");
  options.job_uid = "00000000-0000-4000-8000-00000000000f";
  EXPECT_EQ(RunIt(options, trainer_).code(), absl::StatusCode::kInvalidArgument);
  options = Options("run");
  options.log_vkey = stranger_.vkey();
  EXPECT_FALSE(RunIt(options, trainer_).ok());
  options = Options("run");
  options.dataset_entry = 9999;
  EXPECT_FALSE(RunIt(options, trainer_).ok());
  EXPECT_TRUE(TrainingEntries().empty());
}

TEST_F(RunTest, TrainsNothingThatItsKeyCannotAttest) {
  EXPECT_FALSE(RunIt(Options("run"), stranger_).ok());
  EXPECT_TRUE(Of("step").empty());
  EXPECT_TRUE(TrainingEntries().empty());
}

TEST(MilestoneRequestIdTest, DependsOnEveryPart) {
  const std::string id = MilestoneRequestId("u", "logits", "start", 0);
  EXPECT_TRUE(ledger::IsUuid(id));
  EXPECT_NE(id, MilestoneRequestId("v", "logits", "start", 0));
  EXPECT_NE(id, MilestoneRequestId("u", "text_only", "start", 0));
  EXPECT_NE(id, MilestoneRequestId("u", "logits", "finish", 0));
  EXPECT_NE(id, MilestoneRequestId("u", "logits", "start", 1));
}

}  // namespace
}  // namespace retort::train
