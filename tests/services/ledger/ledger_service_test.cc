#include "services/ledger/ledger_service.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "ledger/checkpoint.h"
#include "ledger/dataset_reader.h"
#include "ledger/hex.h"
#include "ledger/merkle.h"
#include "ledger/proof_file.h"
#include "ledger/signed_statement.h"
#include "ledger/statement.h"
#include "ledger/tile.h"
#include "ledger/uuid.h"
#include "retort/teacher/v1/payload.pb.h"
#include "services/edge/status.h"
#include "services/ledger/ledger_operations.h"

namespace retort::services {
namespace {

constexpr char kTime[] = "2026-01-02T03:04:05.000006Z";
constexpr char kJobUid[] = "0f8fad5b-d9cb-469f-a165-70867728950e";
constexpr char kLedger[] = "projects/demo/ledgers/main";

// A ledger service behind an in-process gRPC server, with the keys of a teacher and a policy service.
class LedgerServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/ledger_service_test." + std::to_string(getpid());
    std::filesystem::remove_all(folder_);
    ProjectLogsOptions options;
    options.data_dir = folder_;
    options.deployment = "retort.example";
    options.log_key = &log_key_;
    options.trusted_keys = {
        {"teacher", teacher_.vkey()}, {"policy", policy_.vkey()}, {"reviewer", reviewer_.vkey()}};
    options.now_us = [this] { return now_us_++; };
    logs_ = std::make_unique<ProjectLogs>(std::move(options));
    ASSERT_EQ(logs_->OpenAll(), absl::OkStatus());
    OperationHost::Options operations;
    operations.folder = folder_ + ".operations";
    std::filesystem::remove_all(operations.folder);
    auto host = OperationHost::Open(std::move(operations), LedgerVerbs(logs_.get()));
    ASSERT_TRUE(host.ok()) << host.status();
    operations_ = *std::move(host);
    service_ =
        std::make_unique<LedgerServiceImpl>(logs_.get(), operations_.get(), PageTokens::WithRandomKey());
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = ledger::v1::LedgerService::NewStub(server_->InProcessChannel({}));
  }
  void TearDown() override {
    server_->Shutdown();
    server_.reset();
    operations_.reset();
    logs_.reset();
    std::filesystem::remove_all(folder_ + ".operations");
    std::filesystem::remove_all(folder_);
  }

  static void Add(const ledger::SignedStatement& from, ledger::v1::AppendEntryRequest* request) {
    auto* to = request->add_statements();
    to->set_statement(from.statement);
    to->set_signature(std::string(from.signature.begin(), from.signature.end()));
    to->set_key_id(std::string(from.key_id.begin(), from.key_id.end()));
  }

  // The append of sample `index`, decided `effect`.
  ledger::v1::AppendEntryRequest Sample(int64_t index, const std::string& effect,
                                        const std::string& split = "train") {
    teacher::v1::SamplePayload payload;
    auto* message = payload.add_messages();
    message->set_role("user");
    message->set_content("question " + std::to_string(index));
    payload.set_completion("answer");
    ledger::v1::AppendEntryRequest request;
    request.set_parent("projects/demo");
    request.set_kind(ledger::v1::ENTRY_KIND_SAMPLE);
    request.set_payload(payload.SerializeAsString());
    request.set_salt(std::string(32, static_cast<char>('a' + index)));

    ledger::CaptureStatement capture;
    capture.project = "projects/demo";
    capture.request_id = ledger::SampleRequestId(kJobUid, index, 1);
    capture.job = "projects/demo/jobs/one";
    capture.job_uid = kJobUid;
    capture.prompt_id = "p" + std::to_string(index);
    capture.index = index;
    capture.split = split;
    capture.teacher = "projects/demo/teachers/t";
    capture.provider = "huggingface";
    capture.channel = "open_weights";
    capture.model_requested = capture.model_answered = "m";
    capture.endpoint = "local";
    capture.temperature = "0";
    capture.top_p = "1";
    capture.max_tokens = 8;
    capture.requested_time = capture.completed_time = kTime;
    capture.finish_reason = "stop";
    capture.payload_digest = ledger::HexEncode(ledger::SaltedDigest(request.salt(), request.payload()));
    capture.payload_bytes = static_cast<int64_t>(request.payload().size());
    const auto signed_capture =
        ledger::SignStatement(teacher_, ledger::StatementType::kCapture, capture.ToJson());
    Add(signed_capture, &request);

    ledger::DecisionStatement decision;
    decision.project = "projects/demo";
    decision.request_id = ledger::UuidFromDigest(ledger::Sha256("decision" + capture.request_id));
    decision.subject_kind = "sample";
    decision.subject_digest = ledger::HexEncode(ledger::Sha256(signed_capture.statement));
    decision.job = capture.job;
    decision.job_uid = kJobUid;
    decision.effect = effect;
    decision.facts = "{}";
    decision.facts_digest = ledger::HexEncode(ledger::Sha256(decision.facts));
    decision.generated_time = decision.decided_time = kTime;
    Add(ledger::SignStatement(policy_, ledger::StatementType::kDecision, decision.ToJson()), &request);
    return request;
  }

  absl::Status Append(const ledger::v1::AppendEntryRequest& request, ledger::v1::Entry* entry) {
    grpc::ClientContext context;
    return FromGrpcStatus(stub_->AppendEntry(&context, request, entry));
  }
  ledger::v1::Entry MustAppend(const ledger::v1::AppendEntryRequest& request) {
    ledger::v1::Entry entry;
    const auto status = Append(request, &entry);
    EXPECT_EQ(status, absl::OkStatus());
    return entry;
  }
  absl::StatusOr<ledger::v1::Entry> CreateDataset(const std::string& request_id) {
    ledger::v1::CreateDatasetRequest request;
    request.set_parent("projects/demo");
    request.set_dataset_id("one");
    request.set_job("projects/demo/jobs/one");
    request.set_job_uid(kJobUid);
    request.set_request_id(request_id);
    ledger::v1::Entry entry;
    grpc::ClientContext context;
    const auto status = FromGrpcStatus(stub_->CreateDataset(&context, request, &entry));
    if (!status.ok()) return status;
    return entry;
  }

  // A person's answer to the decision of sample entry `index`.
  ledger::v1::AppendEntryRequest Review(const ledger::v1::Entry& sample, const std::string& verdict) {
    ledger::ReviewStatement review;
    review.project = "projects/demo";
    review.request_id = ledger::UuidFromDigest(
        ledger::Sha256(verdict + std::to_string(sample.index()) + std::to_string(++reviews_)));
    review.subject_entry = sample.index();
    review.subject_digest = ledger::HexEncode(ledger::Sha256(sample.statements(1).statement()));
    review.verdict = verdict;
    review.reviewer = "spiffe://example/bob";
    review.reason = "looked at it";
    review.reviewed_time = kTime;
    ledger::v1::AppendEntryRequest request;
    request.set_parent("projects/demo");
    request.set_kind(ledger::v1::ENTRY_KIND_REVIEW);
    Add(ledger::SignStatement(reviewer_, ledger::StatementType::kReview, review.ToJson()), &request);
    return request;
  }

  absl::StatusOr<ledger::v1::Sample> GetSample(int64_t entry) {
    ledger::v1::GetJobSampleRequest request;
    request.set_name("projects/demo/jobs/one/samples/s" + std::to_string(entry));
    request.set_job_uid(kJobUid);
    ledger::v1::Sample sample;
    grpc::ClientContext context;
    const auto status = FromGrpcStatus(stub_->GetJobSample(&context, request, &sample));
    if (!status.ok()) return status;
    return sample;
  }

  google::longrunning::Operation Finished(const google::longrunning::Operation& begun) {
    auto done = operations_->Wait(begun.name(), std::chrono::seconds(20), [] { return false; });
    EXPECT_TRUE(done.ok() && done->done());
    return done.ok() ? *done : begun;
  }

  int reviews_ = 0;
  int64_t now_us_ = 1'767'323'045'000'000;
  ledger::SigningKey log_key_ = *ledger::SigningKey::Generate("retort.example/log");
  ledger::SigningKey teacher_ = *ledger::SigningKey::Generate("retort.example/teacher");
  ledger::SigningKey policy_ = *ledger::SigningKey::Generate("retort.example/policy");
  ledger::SigningKey reviewer_ = *ledger::SigningKey::Generate("retort.example/reviewer");
  std::string folder_;
  std::unique_ptr<ProjectLogs> logs_;
  std::unique_ptr<OperationHost> operations_;
  std::unique_ptr<LedgerServiceImpl> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ledger::v1::LedgerService::Stub> stub_;
};

constexpr char kDatasetRequest[] = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

TEST_F(LedgerServiceTest, AppendedEntryIsReadListedAndProven) {
  const auto appended = MustAppend(Sample(0, "allow"));
  EXPECT_EQ(appended.name(), std::string(kLedger) + "/entries/" + std::to_string(appended.index()));

  grpc::ClientContext get_context;
  ledger::v1::GetEntryRequest get;
  get.set_name(appended.name());
  ledger::v1::Entry read;
  ASSERT_TRUE(stub_->GetEntry(&get_context, get, &read).ok());
  EXPECT_EQ(read.leaf(), appended.leaf());
  EXPECT_EQ(read.statements_size(), 2);

  grpc::ClientContext proof_context;
  ledger::v1::GetInclusionProofRequest prove;
  prove.set_name(appended.name());
  ledger::v1::Proof proof;
  ASSERT_TRUE(stub_->GetInclusionProof(&proof_context, prove, &proof).ok());
  const auto file = ledger::ParseProofFile(proof.proof_file());
  ASSERT_TRUE(file.ok()) << file.status();
  const auto key = ledger::VerifyingKey::Parse(proof.checkpoint().vkey());
  ASSERT_TRUE(key.ok());
  const auto checkpoint = ledger::VerifyProofFile(*file, read.leaf(), *key, "retort.example/demo");
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
}

TEST_F(LedgerServiceTest, SameRequestIdReturnsTheFirstAnswer) {
  const auto request = Sample(0, "allow");
  EXPECT_EQ(MustAppend(request).index(), MustAppend(request).index());
  ledger::v1::Entry entry;
  const auto reused =
      Append(Sample(0, "deny"), &entry);  // same capture, hence same request id; other statements
  EXPECT_EQ(reused.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(reused), REQUEST_ID_REUSED);
}

TEST_F(LedgerServiceTest, WrongSignatureIsRefused) {
  auto request = Sample(0, "allow");
  (*request.mutable_statements(1)->mutable_signature())[5] ^= 1;
  ledger::v1::Entry entry;
  const auto status = Append(request, &entry);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(ReasonOf(status), SIGNATURE_INVALID);
}

TEST_F(LedgerServiceTest, MalformedAppendsNameTheField) {
  const std::map<std::string, std::function<void(ledger::v1::AppendEntryRequest&)>> breaks = {
      {"kind", [](auto& r) { r.set_kind(static_cast<ledger::v1::EntryKind>(77)); }},
      {"statements", [](auto& r) { r.clear_statements(); }},
      {"statements.signature", [](auto& r) { r.mutable_statements(0)->set_signature("short"); }},
      {"statements.key_id", [](auto& r) { r.mutable_statements(0)->set_key_id("short"); }},
      {"parent", [](auto& r) { r.set_parent("projects/../etc"); }},
      {"attachments.sha256", [](auto& r) { r.add_attachments()->set_content("x"); }},
  };
  for (const auto& [field, damage] : breaks) {
    auto request = Sample(0, "allow");
    damage(request);
    ledger::v1::Entry entry;
    const auto status = Append(request, &entry);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_EQ(MetadataOf(status)["field"], field) << status;
  }
}

TEST_F(LedgerServiceTest, LookupFindsOnlyWhatIsThere) {
  ledger::v1::LookupRequestsRequest request;
  request.set_parent("projects/demo");
  request.add_request_ids(ledger::SampleRequestId(kJobUid, 0, 1));
  request.add_request_ids(ledger::SampleRequestId(kJobUid, 1, 1));
  ledger::v1::LookupRequestsResponse before, after;
  grpc::ClientContext first, second;
  ASSERT_TRUE(stub_->LookupRequests(&first, request, &before).ok());  // the project has no log yet
  EXPECT_EQ(before.entries_size(), 0);
  const auto entry = MustAppend(Sample(0, "allow"));
  ASSERT_TRUE(stub_->LookupRequests(&second, request, &after).ok());
  ASSERT_EQ(after.entries_size(), 1);
  EXPECT_EQ(after.entries().at(request.request_ids(0)), entry.index());
}

TEST_F(LedgerServiceTest, PagesArePinnedToTheirTreeAndKind) {
  for (int64_t i = 0; i < 5; ++i) MustAppend(Sample(i, "allow"));
  ledger::v1::ListEntriesRequest request;
  request.set_parent(kLedger);
  request.set_kind(ledger::v1::ENTRY_KIND_SAMPLE);
  request.set_page_size(2);
  std::vector<int64_t> seen;
  int64_t pinned = -1;
  do {
    ledger::v1::ListEntriesResponse page;
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->ListEntries(&context, request, &page).ok());
    if (pinned < 0) {
      pinned = page.tree_size();
      MustAppend(Sample(5, "allow"));  // must not show up in the pages to come
    }
    EXPECT_EQ(page.tree_size(), pinned);
    for (const auto& entry : page.entries()) seen.push_back(entry.index());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(seen.size(), 5u);

  ledger::v1::ListEntriesResponse page;
  grpc::ClientContext first_page;
  ASSERT_TRUE(stub_->ListEntries(&first_page, request, &page).ok());
  request.set_kind(ledger::v1::ENTRY_KIND_KEY);
  request.set_page_token(page.next_page_token());
  grpc::ClientContext context;
  const auto status = FromGrpcStatus(stub_->ListEntries(&context, request, &page));
  EXPECT_EQ(ReasonOf(status), PAGE_TOKEN_INVALID);
}

TEST_F(LedgerServiceTest, DatasetStreamPassesTheReader) {
  MustAppend(Sample(0, "allow"));
  MustAppend(Sample(1, "review"));
  MustAppend(Sample(2, "allow", "held_out"));
  MustAppend(Sample(3, "allow"));
  const auto dataset = CreateDataset(kDatasetRequest);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(CreateDataset(kDatasetRequest)->index(), dataset->index());

  grpc::ClientContext context;
  ledger::v1::ReadDatasetRequest request;
  request.set_entry(dataset->name());
  auto stream = stub_->ReadDataset(&context, request);
  ledger::v1::ReadDatasetResponse message;
  ASSERT_TRUE(stream->Read(&message));
  const auto proven = [](uint64_t index, const std::string& leaf, const auto& hashes) {
    ledger::ProvenLeaf to{index, leaf, {}};
    for (const auto& hash : hashes) std::copy(hash.begin(), hash.end(), to.proof.emplace_back().begin());
    return to;
  };
  ledger::DatasetHeader header;
  header.checkpoint_note = message.header().checkpoint().note();
  header.dataset = proven(static_cast<uint64_t>(message.header().index()), message.header().leaf(),
                          message.header().proof());
  header.manifest = message.header().manifest();
  for (const auto& key : message.header().keys()) {
    header.keys.push_back(proven(static_cast<uint64_t>(key.index()), key.leaf(), key.proof()));
  }
  ledger::DatasetReaderOptions options;
  options.log_vkey = log_key_.WithName("retort.example/demo")->vkey();
  options.project = "projects/demo";
  options.dataset_entry = static_cast<uint64_t>(dataset->index());
  auto reader = ledger::DatasetReader::Open(options, header);
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<std::string> prompts;
  while (stream->Read(&message)) {
    const auto& sample = message.sample();
    auto approved =
        reader->Read({proven(static_cast<uint64_t>(sample.index()), sample.leaf(), sample.proof()),
                      sample.payload(), sample.salt()});
    ASSERT_TRUE(approved.ok()) << approved.status();
    prompts.push_back(approved->content().prompt_id);
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(reader->Finish(), absl::OkStatus());
  EXPECT_EQ(prompts,
            (std::vector<std::string>{"p0", "p3", "p2"}));  // train first; the one in review is not there
}

TEST_F(LedgerServiceTest, EmptyDatasetIsRefused) {
  MustAppend(Sample(0, "deny"));
  const auto dataset = CreateDataset(kDatasetRequest);
  EXPECT_EQ(dataset.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(dataset.status()), DATASET_EMPTY);
}

TEST_F(LedgerServiceTest, CountsByDecision) {
  MustAppend(Sample(0, "allow"));
  MustAppend(Sample(1, "review"));
  MustAppend(Sample(2, "deny"));
  ledger::v1::CountSamplesRequest request;
  request.set_parent("projects/demo");
  request.set_job_uid(kJobUid);
  ledger::v1::CountSamplesResponse counts;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->CountSamples(&context, request, &counts).ok());
  EXPECT_EQ(counts.asked(), 3);
  EXPECT_EQ(counts.allowed(), 1);
  EXPECT_EQ(counts.review(), 1);
  EXPECT_EQ(counts.denied(), 1);
  EXPECT_EQ(counts.repeats(), 0);
}

TEST_F(LedgerServiceTest, ConsistencyProofLinksTwoCheckpoints) {
  MustAppend(Sample(0, "allow"));
  ledger::v1::GetCheckpointRequest name;
  name.set_name(kLedger);
  ledger::v1::Checkpoint before;
  grpc::ClientContext checkpoint_context;
  ASSERT_TRUE(stub_->GetCheckpoint(&checkpoint_context, name, &before).ok());
  for (int64_t i = 1; i < 4; ++i) MustAppend(Sample(i, "allow"));
  ledger::v1::GetConsistencyProofRequest request;
  request.set_name(kLedger);
  request.set_first_size(before.tree_size());
  ledger::v1::Proof proof;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->GetConsistencyProof(&context, request, &proof).ok());
  const auto digest = [](const std::string& bytes) {
    ledger::Digest to{};
    std::copy(bytes.begin(), bytes.end(), to.begin());
    return to;
  };
  std::vector<ledger::Digest> hashes;
  for (const auto& hash : proof.hashes()) hashes.push_back(digest(hash));
  EXPECT_EQ(ledger::VerifyConsistency(static_cast<uint64_t>(before.tree_size()),
                                      static_cast<uint64_t>(proof.checkpoint().tree_size()), hashes,
                                      digest(before.root()), digest(proof.checkpoint().root())),
            absl::OkStatus());
}

TEST_F(LedgerServiceTest, ExportHoldsCheckpointAndEveryEntry) {
  for (int64_t i = 0; i < 3; ++i) MustAppend(Sample(i, "allow"));
  ASSERT_TRUE(CreateDataset(kDatasetRequest).ok());
  ledger::v1::ExportEvidenceRequest request;
  request.set_name(kLedger);
  google::longrunning::Operation begun;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->ExportEvidence(&context, request, &begun).ok());
  }
  ledger::v1::ExportEvidenceResponse pack;
  ASSERT_TRUE(Finished(begun).response().UnpackTo(&pack));
  MustAppend(Sample(7, "allow"));  // comes too late for the pack
  std::map<std::string, std::string> files;
  ledger::Sha256Hasher content;
  int64_t bytes = 0;
  {
    ledger::v1::ReadEvidenceRequest read;
    read.set_name(kLedger);
    read.set_tree_size(pack.tree_size());
    grpc::ClientContext context;
    auto stream = stub_->ReadEvidence(&context, read);
    for (ledger::v1::FileChunk chunk; stream->Read(&chunk);) {
      files[chunk.path()] += chunk.content();
      if (!chunk.last()) continue;
      bytes += static_cast<int64_t>(files[chunk.path()].size());
      content.Update(chunk.path());
      content.Update(std::string_view("\0", 1));
      content.Update(ledger::AsView(ledger::Sha256(files[chunk.path()])));
    }
    ASSERT_TRUE(stream->Finish().ok());
  }
  EXPECT_EQ(pack.file_count(), static_cast<int64_t>(files.size()));
  EXPECT_EQ(pack.total_bytes(), bytes);
  EXPECT_EQ(pack.content_sha256(), std::string(ledger::AsView(content.Finish())));
  ASSERT_TRUE(files.count("checkpoint"));
  const auto key = ledger::VerifyingKey::Parse(log_key_.WithName("retort.example/demo")->vkey());
  const auto checkpoint = ledger::OpenCheckpoint(files["checkpoint"], *key, "retort.example/demo");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto bundles = ledger::BundlesOf(checkpoint->size);
  ASSERT_EQ(bundles.size(), 1u);
  const auto entries =
      ledger::ParseBundle(files[ledger::TilePath(bundles[0])], static_cast<uint32_t>(checkpoint->size));
  EXPECT_TRUE(entries.ok()) << entries.status();
  int attachments = 0;
  for (const auto& [path, content] : files) {
    if (path.rfind("attachments/", 0) != 0) continue;
    EXPECT_EQ(path.substr(12), ledger::HexEncode(ledger::Sha256(content)));
    ++attachments;
  }
  EXPECT_EQ(attachments, 1);  // the dataset manifest
}

TEST_F(LedgerServiceTest, UnknownProjectsAndEntriesAreNotFound) {
  grpc::ClientContext first, second;
  ledger::v1::GetCheckpointRequest checkpoint;
  checkpoint.set_name(kLedger);
  ledger::v1::Checkpoint none;
  EXPECT_EQ(FromGrpcStatus(stub_->GetCheckpoint(&first, checkpoint, &none)).code(),
            absl::StatusCode::kNotFound);
  MustAppend(Sample(0, "allow"));
  ledger::v1::GetEntryRequest get;
  get.set_name(std::string(kLedger) + "/entries/999");
  ledger::v1::Entry entry;
  EXPECT_EQ(FromGrpcStatus(stub_->GetEntry(&second, get, &entry)).code(), absl::StatusCode::kNotFound);
}

TEST_F(LedgerServiceTest, ApprovedSampleIsInTheDatasetAndItsReaderIsShownWhy) {
  MustAppend(Sample(0, "allow"));
  const auto in_review = MustAppend(Sample(1, "review"));
  EXPECT_EQ(GetSample(in_review.index())->standing(), ledger::v1::Sample::STANDING_IN_REVIEW);
  const std::string etag = GetSample(in_review.index())->etag();
  const auto review = MustAppend(Review(in_review, "approve"));
  const auto sample = GetSample(in_review.index());
  ASSERT_TRUE(sample.ok()) << sample.status();
  EXPECT_EQ(sample->standing(), ledger::v1::Sample::STANDING_ADMITTED);
  EXPECT_EQ(sample->effect(), "review");
  EXPECT_EQ(sample->review().entry(), review.index());
  EXPECT_EQ(sample->review().reviewer(), "spiffe://example/bob");
  EXPECT_NE(sample->etag(), etag);
  EXPECT_EQ(sample->prompt_id(), "p1");

  const auto dataset = CreateDataset(kDatasetRequest);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  ledger::v1::ReadDatasetRequest request;
  request.set_entry(dataset->name());
  grpc::ClientContext context;
  auto stream = stub_->ReadDataset(&context, request);
  std::vector<int> admissions;
  for (ledger::v1::ReadDatasetResponse part; stream->Read(&part);) {
    if (part.has_sample()) admissions.push_back(part.sample().admission_size());
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(admissions, (std::vector<int>{0, 1}));
}

TEST_F(LedgerServiceTest, NewestReviewCounts) {
  const auto entry = MustAppend(Sample(0, "review"));
  MustAppend(Review(entry, "approve"));
  MustAppend(Review(entry, "reject"));
  EXPECT_EQ(GetSample(entry.index())->standing(), ledger::v1::Sample::STANDING_REJECTED);
  EXPECT_EQ(ReasonOf(CreateDataset(kDatasetRequest).status()), DATASET_EMPTY);
  MustAppend(Review(entry, "approve"));
  EXPECT_EQ(GetSample(entry.index())->standing(), ledger::v1::Sample::STANDING_ADMITTED);
}

TEST_F(LedgerServiceTest, ReviewOfAnotherDecisionIsRefused) {
  const auto first = MustAppend(Sample(0, "review")), second = MustAppend(Sample(1, "review"));
  auto request = Review(first, "approve");
  auto review = ledger::ReviewStatement::Parse(request.statements(0).statement());
  review->subject_entry = second.index();
  request.clear_statements();
  Add(ledger::SignStatement(reviewer_, ledger::StatementType::kReview, review->ToJson()), &request);
  ledger::v1::Entry entry;
  EXPECT_EQ(Append(request, &entry).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetSample(second.index())->standing(), ledger::v1::Sample::STANDING_IN_REVIEW);
}

TEST_F(LedgerServiceTest, SamplesAreListedByPagePinnedAndFiltered) {
  for (int64_t i = 0; i < 5; ++i) MustAppend(Sample(i, i % 2 == 0 ? "allow" : "review"));
  ledger::v1::ListJobSamplesRequest request;
  request.set_parent("projects/demo/jobs/one");
  request.set_job_uid(kJobUid);
  request.set_page_size(2);
  std::vector<std::string> prompts;
  int64_t size = 0;
  do {
    ledger::v1::ListJobSamplesResponse page;
    grpc::ClientContext context;
    const auto status = FromGrpcStatus(stub_->ListJobSamples(&context, request, &page));
    ASSERT_TRUE(status.ok()) << status;
    for (const auto& sample : page.samples()) prompts.push_back(sample.prompt_id());
    if (size == 0) {
      size = page.tree_size();
      MustAppend(Sample(6, "allow"));  // after the first page: not of this listing
    }
    EXPECT_EQ(page.tree_size(), size);
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(prompts, (std::vector<std::string>{"p0", "p1", "p2", "p3", "p4"}));

  request.set_page_size(50);
  request.set_filter("standing = IN_REVIEW AND prompt_id != p3");
  ledger::v1::ListJobSamplesResponse page;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->ListJobSamples(&context, request, &page).ok());
  ASSERT_EQ(page.samples_size(), 1);
  EXPECT_EQ(page.samples(0).prompt_id(), "p1");
}

TEST_F(LedgerServiceTest, EntriesAreFilteredAndTokensBound) {
  for (int64_t i = 0; i < 4; ++i) MustAppend(Sample(i, "allow"));
  ledger::v1::ListEntriesRequest request;
  request.set_parent(kLedger);
  request.set_filter("kind = SAMPLE AND index > 4");
  request.set_page_size(1);
  ledger::v1::ListEntriesResponse page;
  {
    grpc::ClientContext context;
    ASSERT_TRUE(stub_->ListEntries(&context, request, &page).ok());
  }
  ASSERT_EQ(page.entries_size(), 1);
  EXPECT_EQ(page.entries(0).index(), 5);
  request.set_page_token(page.next_page_token());
  request.set_filter("kind = SAMPLE");
  grpc::ClientContext context;
  const auto refused = FromGrpcStatus(stub_->ListEntries(&context, request, &page));
  EXPECT_EQ(ReasonOf(refused), PAGE_TOKEN_INVALID);
}

TEST_F(LedgerServiceTest, VerifiesItsOwnLog) {
  MustAppend(Sample(0, "allow"));
  MustAppend(Review(MustAppend(Sample(1, "review")), "approve"));
  ASSERT_TRUE(CreateDataset(kDatasetRequest).ok());
  ledger::v1::VerifyLedgerRequest request;
  request.set_name(kLedger);
  google::longrunning::Operation begun;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->VerifyLedger(&context, request, &begun).ok());
  const auto done = Finished(begun);
  ASSERT_TRUE(done.has_response()) << done.error().message();
  ledger::v1::VerifyLedgerResponse report;
  ASSERT_TRUE(done.response().UnpackTo(&report));
  EXPECT_GE(report.tree_size(), 8);
  std::map<std::string, int64_t> checked;
  for (const auto& fact : report.checked()) checked[fact.what()] = fact.count();
  EXPECT_EQ(checked["samples listed by datasets, all of them admitted"], 2);
  EXPECT_EQ(checked["reviews by people, each of a decision in the log"], 1);
  ledger::v1::LedgerOperationMetadata metadata;
  ASSERT_TRUE(done.metadata().UnpackTo(&metadata));
  EXPECT_EQ(metadata.target(), kLedger);
  EXPECT_EQ(metadata.entries_done(), report.tree_size());
}

}  // namespace
}  // namespace retort::services
