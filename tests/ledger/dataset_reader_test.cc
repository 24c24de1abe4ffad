#include "ledger/dataset_reader.h"

#include <gtest/gtest.h>

#include <limits>

#include "ledger/dataset_manifest.h"
#include "ledger/hex.h"
#include "ledger/merkle.h"
#include "retort/teacher/v1/payload.pb.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

// A stream as an honest ledger sends it; tests then spoil one thing.
class DatasetReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(MakeOptions(keys_, folder_ / "log"));
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }

  void Append(AppendRequest request) {
    const absl::StatusOr<AppendedEntry> entry = log_->Append(std::move(request));
    ASSERT_TRUE(entry.ok()) << entry.status();
  }

  void Freeze() {
    const absl::StatusOr<AppendedEntry> entry = log_->CreateDataset({.dataset = "projects/demo/datasets/d",
                                                                     .job = kJob,
                                                                     .job_uid = kJobUid,
                                                                     .request_id = UuidOf("dataset")});
    ASSERT_TRUE(entry.ok()) << entry.status();
    Capture(entry->index);
  }

  // Two train samples and a held-out one.
  void FreezeThree() {
    Append(MakeSample(keys_, {.index = 0}));
    Append(MakeSample(keys_, {.index = 1, .effect = "review"}));
    Append(MakeSample(keys_, {.index = 2}));
    Append(MakeSample(keys_, {.index = 3, .split = "held_out"}));
    Freeze();
  }

  ProvenLeaf Proven(uint64_t index) const {
    return {index, log_->ReadEntry(index)->leaf, *log_->InclusionProof(index, size_)};
  }

  void Capture(uint64_t dataset) {
    const SignedCheckpoint checkpoint = log_->CheckpointNote();
    size_ = checkpoint.checkpoint.size;
    header_.checkpoint_note = checkpoint.note;
    header_.dataset = Proven(dataset);
    const absl::StatusOr<Entry> entry = ParseEntry(header_.dataset.leaf);
    const auto statement = DatasetStatement::Parse(entry->statements[0].statement);
    header_.manifest = *log_->ReadAttachment(*DigestFromHex(statement->manifest_sha256));
    ASSERT_TRUE(log_->ForEachEntry(0, size_, EntryKind::kKey,
                                   [this](const StoredEntry& key) {
                                     header_.keys.push_back(Proven(key.index));
                                     return absl::OkStatus();
                                   })
                    .ok());
    const absl::StatusOr<DatasetManifest> manifest = DatasetManifest::Parse(header_.manifest);
    for (const ListedSample& listed : manifest->samples) {
      const absl::StatusOr<Payload> payload = log_->ReadPayload(listed.index);
      samples_.push_back({Proven(listed.index), payload->payload, payload->salt});
    }
    options_ = {.log_vkey = log_->vkey(), .project = kProject, .dataset_entry = dataset, .job_uid = kJobUid};
  }

  absl::Status OpenStatus() const { return DatasetReader::Open(options_, header_).status(); }
  absl::Status ReadStatus(const ProvenSample& sample) const {
    absl::StatusOr<DatasetReader> reader = DatasetReader::Open(options_, header_);
    EXPECT_TRUE(reader.ok()) << reader.status();
    return reader->Read(sample).status();
  }

  TemporaryFolder folder_;
  TestKeys keys_ = TestKeys::Make();
  std::unique_ptr<Log> log_;
  uint64_t size_ = 0;
  DatasetHeader header_;
  std::vector<ProvenSample> samples_;
  DatasetReaderOptions options_;
};

TEST_F(DatasetReaderTest, YieldsApprovedSamples) {
  FreezeThree();
  absl::StatusOr<DatasetReader> reader = DatasetReader::Open(options_, header_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(reader->sample_count(), 3u);
  EXPECT_EQ(reader->statement().train_samples, 2);
  EXPECT_EQ(reader->checkpoint().size, size_);
  EXPECT_EQ(reader->Finish().code(), absl::StatusCode::kDataLoss);
  for (const ProvenSample& sample : samples_) {
    const absl::StatusOr<ApprovedSample> approved = reader->Read(sample);
    ASSERT_TRUE(approved.ok()) << approved.status();
    EXPECT_EQ(approved->leaf_index(), sample.leaf.index);
    EXPECT_EQ(approved->leaf_hash(), LeafHash(sample.leaf.leaf));
    const ApprovedContent& content = approved->content();
    EXPECT_EQ(content.completion, "a completion");
    EXPECT_EQ(content.messages.size(), 1u);
    EXPECT_EQ(content.completion_ids, (std::vector<uint32_t>{5, 6, 7}));
    EXPECT_EQ(content.k, 2u);
    EXPECT_EQ(content.top_ids.size(), 6u);
    EXPECT_EQ(content.tail_logprobs.size(), 3u);
    EXPECT_EQ(content.vocabulary_size, 100u);
    EXPECT_EQ(content.held_out, content.prompt_id == "prompt-3");
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(reader->Read(samples_[0]).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DatasetReaderTest, ReadsOneSplit) {
  FreezeThree();
  options_.split = "held_out";
  absl::StatusOr<DatasetReader> reader = DatasetReader::Open(options_, header_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(reader->sample_count(), 1u);
  EXPECT_TRUE(reader->Read(samples_[2]).ok());
  EXPECT_TRUE(reader->Finish().ok());
  options_.split = "test";
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(DatasetReaderTest, SamplesComeInManifestOrder) {
  FreezeThree();
  absl::StatusOr<DatasetReader> reader = DatasetReader::Open(options_, header_);
  EXPECT_EQ(reader->Read(samples_[1]).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(reader->Read(samples_[0]).ok());  // it stayed where it was
  EXPECT_EQ(reader->Read(samples_[0]).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(DatasetReaderTest, RefusesASampleOutsideTheManifest) {
  FreezeThree();
  const Payload payload = *log_->ReadPayload(7);  // the one in review
  EXPECT_EQ(ReadStatus({Proven(7), payload.payload, payload.salt}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(DatasetReaderTest, EveryFlippedBitOfASampleIsNoticed) {
  FreezeThree();
  const ProvenSample good = samples_[0];
  absl::StatusOr<DatasetReader> reader = DatasetReader::Open(options_, header_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  const auto expect_refused = [&](const ProvenSample& bad) {
    const absl::StatusCode code = reader->Read(bad).status().code();
    EXPECT_TRUE(code == absl::StatusCode::kDataLoss || code == absl::StatusCode::kInvalidArgument);
  };
  for (size_t i = 0; i < good.leaf.leaf.size(); i += 7) {
    ProvenSample bad = good;
    bad.leaf.leaf[i] ^= 4;
    expect_refused(bad);
  }
  for (size_t i = 0; i < good.payload.size(); i += 3) {
    ProvenSample bad = good;
    bad.payload[i] ^= 1;
    expect_refused(bad);
  }
  ProvenSample bad = good;
  bad.salt[0] ^= 1;
  expect_refused(bad);
  bad = good;
  bad.salt.clear();
  expect_refused(bad);
  for (size_t i = 0; i < good.leaf.proof.size(); ++i) {
    bad = good;
    bad.leaf.proof[i][0] ^= 1;
    expect_refused(bad);
  }
  bad = good;
  bad.leaf.proof.pop_back();
  expect_refused(bad);
  EXPECT_TRUE(reader->Read(good).ok());
}

TEST_F(DatasetReaderTest, EveryFlippedByteOfTheHeaderIsNoticed) {
  FreezeThree();
  const DatasetHeader good = header_;
  const auto expect_refused = [&](const std::string& what) {
    EXPECT_FALSE(OpenStatus().ok()) << what;
    header_ = good;
  };
  for (size_t i = 0; i < good.checkpoint_note.size(); i += 23) {
    header_.checkpoint_note[i] ^= 1;
    expect_refused("checkpoint " + std::to_string(i));
  }
  for (size_t i = 0; i < good.dataset.leaf.size(); i += 61) {
    header_.dataset.leaf[i] ^= 1;
    expect_refused("leaf " + std::to_string(i));
  }
  for (size_t i = 0; i < good.manifest.size(); i += 61) {
    header_.manifest[i] ^= 1;
    expect_refused("manifest " + std::to_string(i));
  }
  for (size_t key = 0; key < good.keys.size(); ++key) {
    header_.keys[key].leaf[100] ^= 1;
    expect_refused("key " + std::to_string(key));
  }
  std::swap(header_.keys[0], header_.keys[1]);
  expect_refused("order of keys");
}

TEST_F(DatasetReaderTest, KeysThatNoEntryRegisteredAreNotTrusted) {
  FreezeThree();
  header_.keys.erase(header_.keys.begin() + 1);  // the teacher's
  const absl::Status status = ReadStatus(samples_[0]);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(std::string(status.message()).find("not registered with role teacher"), std::string::npos)
      << status;
}

TEST_F(DatasetReaderTest, RefusesAnotherLogProjectJobOrEntry) {
  FreezeThree();
  const DatasetReaderOptions good = options_;
  options_.log_vkey = SigningKey::FromSeed(kOrigin, AsView(Sha256("another")))->vkey();
  EXPECT_FALSE(OpenStatus().ok());
  options_ = good;
  options_.log_vkey = keys_.log.WithName("other/log")->vkey();
  EXPECT_FALSE(OpenStatus().ok());
  options_ = good;
  options_.project = "projects/other";
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument);
  options_ = good;
  options_.job_uid = "other";
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument);
  options_ = good;
  options_.dataset_entry = 0;
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument);
  options_.log_vkey = "nonsense";
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kInvalidArgument);
}

// A log whose key holder lists a denied sample: the reader looks at the decision itself.
TEST_F(DatasetReaderTest, RefusesAListedSampleThatIsNotAllowed) {
  std::vector<std::string> leaves;
  const auto add = [&](EntryKind kind, std::vector<SignedStatement> statements) {
    leaves.push_back(*EncodeEntry({.kind = kind, .time_us = 1, .statements = std::move(statements)}));
  };
  for (const auto& [role, vkey] : keys_.Trusted()) {
    const KeyStatement key{kProject, UuidOf(role), role, vkey, "add"};
    add(EntryKind::kKey, {SignStatement(keys_.log, StatementType::kKey, key.ToJson())});
  }
  const AppendRequest denied = MakeSample(keys_, {.effect = "deny"});
  add(EntryKind::kSample, denied.statements);
  const DatasetManifest manifest{
      .samples = {{.index = 5, .leaf_hash = LeafHash(leaves[5]), .prompt_id = "prompt-0"}}};
  const DatasetStatement dataset{
      kProject, UuidOf("d"), "d", kJob, kJobUid, HexEncode(Sha256(manifest.ToJson())), 1, 0, 0};
  add(EntryKind::kDataset, {SignStatement(keys_.log, StatementType::kDataset, dataset.ToJson())});
  std::vector<Digest> hashes;
  for (const std::string& leaf : leaves) hashes.push_back(LeafHash(leaf));
  const NodeSource nodes = [&](NodeId node) -> absl::StatusOr<Digest> {
    const auto first = hashes.begin() + static_cast<ptrdiff_t>(node.index << node.level);
    return RootOf(std::vector<Digest>(first, first + (ptrdiff_t{1} << node.level)));
  };
  const auto proven = [&](uint64_t i) {
    return ProvenLeaf{i, leaves[i], *InclusionProof(i, leaves.size(), nodes)};
  };
  header_.checkpoint_note =
      SignCheckpoint({.origin = kOrigin, .size = leaves.size(), .root = RootOf(hashes)}, keys_.log);
  header_.dataset = proven(6);
  header_.manifest = manifest.ToJson();
  for (uint64_t i = 0; i < 5; ++i) header_.keys.push_back(proven(i));
  options_ = {.log_vkey = keys_.log.vkey(), .project = kProject, .dataset_entry = 6};
  const absl::Status status = ReadStatus({proven(5), denied.payload, denied.salt});
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
}

// A log of this test's own, whose dataset lists one sample in review.
class AdmissionTest : public DatasetReaderTest {
 protected:
  AdmissionTest() {
    for (const auto& [role, vkey] : keys_.Trusted()) {
      const KeyStatement key{kProject, UuidOf(role), role, vkey, "add"};
      Add(EntryKind::kKey, {SignStatement(keys_.log, StatementType::kKey, key.ToJson())});
    }
    Add(EntryKind::kSample, sample_.statements);
  }

  void Add(EntryKind kind, std::vector<SignedStatement> statements) {
    leaves_.push_back(*EncodeEntry({.kind = kind, .time_us = 1, .statements = std::move(statements)}));
  }
  void AddReview(const std::string& verdict, uint64_t entry, const std::string& decision) {
    Add(EntryKind::kReview, MakeReview(keys_, entry, decision, verdict, ++reviews_).statements);
  }
  const std::string& own() const { return sample_.statements[1].statement; }

  void FreezeOwn() {
    const DatasetManifest manifest{
        .samples = {{.index = 5, .leaf_hash = LeafHash(leaves_[5]), .prompt_id = "prompt-0"}}};
    const DatasetStatement dataset{
        kProject, UuidOf("d"), "d", kJob, kJobUid, HexEncode(Sha256(manifest.ToJson())), 1, 0, 0};
    dataset_ = leaves_.size();
    Add(EntryKind::kDataset, {SignStatement(keys_.log, StatementType::kDataset, dataset.ToJson())});
    manifest_ = manifest.ToJson();
  }

  ProvenLeaf Proof(uint64_t i) const {
    std::vector<Digest> hashes;
    for (const std::string& leaf : leaves_) hashes.push_back(LeafHash(leaf));
    const NodeSource nodes = [&](NodeId node) -> absl::StatusOr<Digest> {
      const auto first = hashes.begin() + static_cast<ptrdiff_t>(node.index << node.level);
      return RootOf(std::vector<Digest>(first, first + (ptrdiff_t{1} << node.level)));
    };
    return {i, leaves_[i], *InclusionProof(i, leaves_.size(), nodes)};
  }

  // Reads the sample with these entries as its admission.
  absl::Status ReadWith(const std::vector<uint64_t>& admission) {
    std::vector<Digest> hashes;
    for (const std::string& leaf : leaves_) hashes.push_back(LeafHash(leaf));
    header_ = {};
    header_.checkpoint_note =
        SignCheckpoint({.origin = kOrigin, .size = leaves_.size(), .root = RootOf(hashes)}, keys_.log);
    header_.dataset = Proof(dataset_);
    header_.manifest = manifest_;
    for (uint64_t i = 0; i < 5; ++i) header_.keys.push_back(Proof(i));
    options_ = {.log_vkey = keys_.log.vkey(), .project = kProject, .dataset_entry = dataset_};
    ProvenSample proven{Proof(5), sample_.payload, sample_.salt};
    for (const uint64_t i : admission) proven.admission.push_back(Proof(i));
    return ReadStatus(proven);
  }

  const AppendRequest sample_ = MakeSample(keys_, {.effect = "review"});
  std::vector<std::string> leaves_;
  std::string manifest_;
  uint64_t dataset_ = 0;
  int reviews_ = 0;
};

TEST_F(AdmissionTest, ApprovalBeforeTheDatasetAdmits) {
  AddReview("approve", 5, own());
  FreezeOwn();
  EXPECT_EQ(ReadWith({6}), absl::OkStatus());
  EXPECT_EQ(ReadWith({}).code(), absl::StatusCode::kPermissionDenied) << "nothing shows it";
  EXPECT_EQ(ReadWith({6, 6, 6}).code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AdmissionTest, RejectionAndLateApprovalDoNot) {
  AddReview("reject", 5, own());
  FreezeOwn();
  AddReview("approve", 5, own());
  EXPECT_EQ(ReadWith({6}).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ReadWith({8}).code(), absl::StatusCode::kPermissionDenied) << "came after the dataset";
}

TEST_F(AdmissionTest, ReviewOfAnotherDecisionDoesNot) {
  const auto other = MakeSample(keys_, {.index = 1, .effect = "review"});
  Add(EntryKind::kSample, other.statements);
  AddReview("approve", 6, other.statements[1].statement);
  FreezeOwn();
  EXPECT_EQ(ReadWith({7}).code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AdmissionTest, LaterDecisionIsTheOneThatIsReviewed) {
  const std::string subject = HexEncode(Sha256(sample_.statements[0].statement));
  const auto later = MakeDecision(keys_, subject, "review", 1);
  Add(EntryKind::kDecision, later.statements);
  AddReview("approve", 6, later.statements[0].statement);
  AddReview("approve", 5, own());
  FreezeOwn();
  EXPECT_EQ(ReadWith({6, 7}), absl::OkStatus());
  EXPECT_EQ(ReadWith({6, 8}).code(), absl::StatusCode::kPermissionDenied) << "of the older decision";
  EXPECT_EQ(ReadWith({6}).code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AdmissionTest, ReviewerNeedsTheRole) {
  auto review = MakeReview(keys_, 5, own(), "approve", 1);
  review.statements[0] = SignStatement(keys_.policy, StatementType::kReview, review.statements[0].statement);
  Add(EntryKind::kReview, review.statements);
  FreezeOwn();
  EXPECT_EQ(ReadWith({6}).code(), absl::StatusCode::kDataLoss);
}

class HostilePayloadTest : public DatasetReaderTest, public testing::WithParamInterface<int> {};

TEST_P(HostilePayloadTest, ArraysMustFitEachOther) {
  SampleParts parts = MakeSampleParts({});
  teacher::v1::SamplePayload payload;
  ASSERT_TRUE(payload.ParseFromString(parts.payload));
  teacher::v1::TokenTrace& trace = *payload.mutable_trace();
  switch (GetParam()) {
    case 0:
      trace.add_top_ids(1);
      break;
    case 1:
      trace.mutable_top_logprobs()->RemoveLast();
      break;
    case 2:
      trace.add_tail_logprobs(-1);
      break;
    case 3:
      trace.set_k(0x80000001u);
      break;
    case 4:
      trace.set_top_ids(0, 100);
      break;
    case 5:
      trace.set_completion_ids(0, 100);
      break;
    case 6:
      trace.add_prompt_ids(100);
      break;
    case 7:
      trace.set_top_logprobs(0, std::numeric_limits<float>::quiet_NaN());
      break;
    case 8:
      trace.set_tail_logprobs(0, 1.0f);
      break;
    case 9:
      trace.set_vocabulary_size(0);
      break;
    case 10:
      trace.clear_tokenizer_sha256();
      break;
    case 11:
      trace.set_tokenizer_sha256(std::string(32, 'x'));
      break;
    case 12:
      payload.mutable_messages(0)->set_role("tool");
      break;
    case 13:
      payload.clear_messages();
      break;
    default:
      break;
  }
  parts.payload = GetParam() == 14 ? "\xFF\xFF\xFF" : payload.SerializeAsString();
  parts.capture.payload_bytes = static_cast<int64_t>(parts.payload.size());
  parts.capture.payload_digest = HexEncode(SaltedDigest(parts.salt, parts.payload));
  parts.decision.subject_digest = HexEncode(Sha256(parts.capture.ToJson()));
  Append(SignSample(keys_, parts));
  Freeze();
  const absl::Status status = ReadStatus(samples_[0]);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

INSTANTIATE_TEST_SUITE_P(All, HostilePayloadTest, testing::Range(0, 15));

}  // namespace
}  // namespace retort::ledger
