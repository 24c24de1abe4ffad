#include "ledger/log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "ledger/checkpoint.h"
#include "ledger/dataset_manifest.h"
#include "ledger/hex.h"
#include "ledger/merkle.h"
#include "ledger/uuid.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

constexpr uint64_t kKeyEntries = 6;  // the log's own key and five trusted ones

class LogTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    log_.reset();
    absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(MakeOptions(keys_, folder_ / "log"));
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }

  uint64_t MustAppend(AppendRequest request) {
    const absl::StatusOr<AppendedEntry> entry = log_->Append(std::move(request));
    EXPECT_TRUE(entry.ok()) << entry.status();
    return entry.ok() ? entry->index : 0;
  }

  absl::Status AppendStatus(AppendRequest request) { return log_->Append(std::move(request)).status(); }

  TemporaryFolder folder_;
  TestKeys keys_ = TestKeys::Make();
  std::unique_ptr<Log> log_;
};

TEST_F(LogTest, BeginsWithItsKeys) {
  const SignedCheckpoint checkpoint = log_->CheckpointNote();
  EXPECT_EQ(checkpoint.checkpoint.size, kKeyEntries);
  const absl::StatusOr<StoredEntry> first = log_->ReadEntry(0);
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::StatusOr<KeyStatement> key = KeyStatement::Parse(first->entry.statements[0].statement);
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->role, "log");
  EXPECT_EQ(key->vkey, keys_.log.vkey());
  Reopen();
  EXPECT_EQ(log_->CheckpointNote().note, checkpoint.note);
}

TEST_F(LogTest, AppendIsUnderTheNextCheckpoint) {
  const absl::StatusOr<AppendedEntry> entry = log_->Append(MakeSample(keys_, {}));
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_FALSE(entry->repeated);
  EXPECT_EQ(entry->index, kKeyEntries);
  EXPECT_EQ(entry->leaf_hash, LeafHash(entry->leaf));
  const absl::StatusOr<VerifyingKey> key = VerifyingKey::Parse(log_->vkey());
  const absl::StatusOr<Checkpoint> checkpoint = OpenCheckpoint(log_->CheckpointNote().note, *key, kOrigin);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const absl::StatusOr<std::vector<Digest>> proof = log_->InclusionProof(entry->index, checkpoint->size);
  ASSERT_TRUE(proof.ok()) << proof.status();
  EXPECT_TRUE(
      VerifyInclusion(entry->index, checkpoint->size, entry->leaf_hash, *proof, checkpoint->root).ok());
}

TEST_F(LogTest, ReadsBackEntryAndPayload) {
  const SampleParts parts = MakeSampleParts({.index = 3});
  const uint64_t index = MustAppend(SignSample(keys_, parts));
  Reopen();
  const absl::StatusOr<StoredEntry> entry = log_->ReadEntry(index);
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->entry.statements[0].statement, parts.capture.ToJson());
  const absl::StatusOr<Payload> payload = log_->ReadPayload(index);
  ASSERT_TRUE(payload.ok()) << payload.status();
  EXPECT_EQ(payload->payload, parts.payload);
  EXPECT_EQ(payload->salt, parts.salt);
  EXPECT_EQ(log_->ReadPayload(0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log_->ReadEntry(index + 1).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LogTest, SameRequestGetsTheFirstAnswerAcrossReopening) {
  const absl::StatusOr<AppendedEntry> first = log_->Append(MakeSample(keys_, {}));
  ASSERT_TRUE(first.ok()) << first.status();
  for (int i = 0; i < 2; ++i) {
    const absl::StatusOr<AppendedEntry> again = log_->Append(MakeSample(keys_, {}));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_TRUE(again->repeated);
    EXPECT_EQ(again->index, first->index);
    EXPECT_EQ(again->leaf, first->leaf);
    EXPECT_EQ(again->time_us, first->time_us);
    Reopen();
  }
  EXPECT_EQ(log_->CheckpointNote().checkpoint.size, kKeyEntries + 1);
}

TEST_F(LogTest, ReusedRequestIdIsRefusedWithTheIndex) {
  const uint64_t index = MustAppend(MakeSample(keys_, {}));
  const absl::Status status = AppendStatus(MakeSample(keys_, {.effect = "deny"}));
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(IsRequestIdReused(status));
  EXPECT_NE(std::string(status.message()).find("entry " + std::to_string(index)), std::string::npos)
      << status;
  EXPECT_EQ(log_->CheckpointNote().checkpoint.size, index + 1);
}

TEST_F(LogTest, LookupFindsOnlyWhatIsThere) {
  const uint64_t index = MustAppend(MakeSample(keys_, {.index = 5}));
  const std::string here = SampleRequestId(kJobUid, 5, 1);
  const auto found = log_->LookupRequests({here, UuidOf("absent")});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, (std::map<std::string, uint64_t>{{here, index}}));
}

TEST_F(LogTest, RefusesSignaturesThatDoNotVerify) {
  AppendRequest request = MakeSample(keys_, {});
  request.statements[1].signature[10] ^= 1;
  absl::Status status = AppendStatus(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(IsSignatureInvalid(status));
  EXPECT_NE(std::string(status.message()).find("decision signature does not verify"), std::string::npos)
      << status;
}

TEST_F(LogTest, RefusesKeysWithoutTheRole) {
  SampleParts parts = MakeSampleParts({});
  AppendRequest request = SignSample(keys_, parts);
  request.statements[1] = SignStatement(keys_.teacher, StatementType::kDecision, parts.decision.ToJson());
  const absl::Status status = AppendStatus(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(IsSignatureInvalid(status));
  EXPECT_NE(std::string(status.message()).find("not registered with role policy"), std::string::npos)
      << status;
}

TEST_F(LogTest, RefusesStatementsThatDoNotAgree) {
  const auto refused = [&](const SampleParts& parts, const std::string& about) {
    const absl::Status status = AppendStatus(SignSample(keys_, parts));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << about;
    EXPECT_FALSE(IsSignatureInvalid(status)) << status;
    EXPECT_NE(std::string(status.message()).find(about), std::string::npos) << status;
  };
  SampleParts parts = MakeSampleParts({});
  parts.decision.subject_digest = std::string(64, '0');
  refused(parts, "decision.subject_digest");
  parts = MakeSampleParts({});
  parts.decision.job_uid = "other";
  refused(parts, "decision.job_uid");
  parts = MakeSampleParts({});
  parts.payload[0] ^= 1;
  refused(parts, "salted digest");
  parts = MakeSampleParts({});
  parts.payload += "x";
  refused(parts, "the capture says");
  parts = MakeSampleParts({});
  parts.salt.pop_back();
  refused(parts, "salt of 31 bytes");
  parts = MakeSampleParts({});
  parts.capture.project = "projects/other";
  parts.decision.project = "projects/other";
  parts.decision.subject_digest = HexEncode(Sha256(parts.capture.ToJson()));
  refused(parts, "projects/other");
  EXPECT_EQ(log_->CheckpointNote().checkpoint.size, kKeyEntries);
}

TEST_F(LogTest, OnlyTheLogMakesKeysDatasetsAndErasures) {
  for (const EntryKind kind : {EntryKind::kKey, EntryKind::kDataset, EntryKind::kErasure}) {
    AppendRequest request{.kind = kind};
    request.statements.resize(1);
    EXPECT_EQ(AppendStatus(request).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(LogTest, ServicesTellWhoWasLetIn) {
  int64_t count = 0;
  for (const SigningKey* key : {&keys_.log, &keys_.jobs, &keys_.policy, &keys_.teacher}) {
    MustAppend(SignAccess(*key, MakeAccess("deny", ++count)));
  }
  for (const SigningKey* key : {&keys_.trainer, &keys_.reviewer}) {
    const absl::Status status = AppendStatus(SignAccess(*key, MakeAccess("deny", ++count)));
    EXPECT_TRUE(IsSignatureInvalid(status)) << status;
    EXPECT_NE(status.message().find("role log or jobs or policy or teacher"), std::string_view::npos)
        << status;
  }
  AccessStatement other = MakeAccess("allow", 1);
  other.project = "projects/other";
  EXPECT_EQ(AppendStatus(SignAccess(keys_.jobs, other)).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(LogTest, AttachmentsMustBeNamedAndPresent) {
  AppendRequest unnamed = MakePolicyPack(keys_, "pack: 1");
  unnamed.attachments.push_back("something else");
  EXPECT_EQ(AppendStatus(unnamed).code(), absl::StatusCode::kInvalidArgument);
  AppendRequest absent = MakePolicyPack(keys_, "pack: 1");
  absent.attachments.clear();
  EXPECT_EQ(AppendStatus(absent).code(), absl::StatusCode::kFailedPrecondition);
  MustAppend(MakePolicyPack(keys_, "pack: 1"));
  const auto content = log_->ReadAttachment(Sha256("pack: 1"));
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_EQ(*content, "pack: 1");
  EXPECT_EQ(log_->ReadAttachment(Sha256("absent")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(LogTest, ReferencesMustExist) {
  EXPECT_EQ(AppendStatus(SignTraining(keys_, MakeTraining(kKeyEntries, "start", 0, ""))).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(AppendStatus(SignTraining(keys_, MakeTraining(0, "start", 0, ""))).code(),
            absl::StatusCode::kFailedPrecondition);  // a KEY entry is no dataset
}

TEST_F(LogTest, CountsByDecision) {
  MustAppend(MakeSample(keys_, {.index = 0}));
  MustAppend(MakeSample(keys_, {.index = 1, .effect = "review"}));
  MustAppend(MakeSample(keys_, {.index = 2, .effect = "deny"}));
  MustAppend(MakeSample(keys_, {.index = 2, .attempt = 2}));
  MustAppend(MakeSample(keys_, {.index = 0, .job_uid = "another job"}));
  const absl::StatusOr<SampleCounts> counts = log_->CountSamples(kJobUid);
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->asked, 4u);
  EXPECT_EQ(counts->allowed, 2u);
  EXPECT_EQ(counts->review, 1u);
  EXPECT_EQ(counts->denied, 1u);
  EXPECT_EQ(counts->repeats, 1u);
}

class LogDatasetTest : public LogTest {
 protected:
  DatasetRequest Request() const {
    return {.dataset = "projects/demo/datasets/d",
            .job = kJob,
            .job_uid = kJobUid,
            .request_id = UuidOf("dataset")};
  }

  DatasetManifest ManifestOf(const AppendedEntry& entry) {
    const absl::StatusOr<Entry> parsed = ParseEntry(entry.leaf);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    const auto statement = DatasetStatement::Parse(parsed->statements[0].statement);
    EXPECT_TRUE(statement.ok()) << statement.status();
    const auto bytes = log_->ReadAttachment(*DigestFromHex(statement->manifest_sha256));
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    const auto manifest = DatasetManifest::Parse(*bytes);
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    excluded_ = statement->excluded_samples;
    return *manifest;
  }

  int64_t excluded_ = 0;
};

TEST_F(LogDatasetTest, TakesTheLowestAllowedAttemptOfEachPrompt) {
  MustAppend(MakeSample(keys_, {.index = 9, .split = "held_out"}));       // 6
  MustAppend(MakeSample(keys_, {.index = 1, .attempt = 2}));              // 7
  MustAppend(MakeSample(keys_, {.index = 1, .attempt = 1}));              // 8
  MustAppend(MakeSample(keys_, {.index = 0, .effect = "review"}));        // 9
  MustAppend(MakeSample(keys_, {.index = 0, .attempt = 2}));              // 10
  MustAppend(MakeSample(keys_, {.index = 2, .effect = "deny"}));          // 11
  MustAppend(MakeSample(keys_, {.index = 3, .job_uid = "another job"}));  // 12
  const absl::StatusOr<AppendedEntry> entry = log_->CreateDataset(Request());
  ASSERT_TRUE(entry.ok()) << entry.status();
  const DatasetManifest manifest = ManifestOf(*entry);
  ASSERT_EQ(manifest.samples.size(), 3u);
  EXPECT_EQ(manifest.samples[0].index, 10u);
  EXPECT_EQ(manifest.samples[1].index, 8u);
  EXPECT_EQ(manifest.samples[2].index, 6u);
  EXPECT_TRUE(manifest.samples[2].held_out);
  EXPECT_EQ(manifest.samples[1].prompt_id, "prompt-1");
  EXPECT_EQ(excluded_, 3);
}

TEST_F(LogDatasetTest, SameRequestFreezesOnce) {
  MustAppend(MakeSample(keys_, {.index = 0}));
  const absl::StatusOr<AppendedEntry> first = log_->CreateDataset(Request());
  ASSERT_TRUE(first.ok()) << first.status();
  MustAppend(MakeSample(keys_, {.index = 1}));
  Reopen();
  const absl::StatusOr<AppendedEntry> again = log_->CreateDataset(Request());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->repeated);
  EXPECT_EQ(again->leaf, first->leaf);
  DatasetRequest other = Request();
  other.dataset = "projects/demo/datasets/other";
  EXPECT_TRUE(IsRequestIdReused(log_->CreateDataset(other).status()));
}

TEST_F(LogDatasetTest, NothingAllowedIsNoDataset) {
  MustAppend(MakeSample(keys_, {.index = 0, .effect = "deny"}));
  MustAppend(MakeSample(keys_, {.index = 1, .split = "held_out"}));
  EXPECT_EQ(log_->CreateDataset(Request()).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(LogDatasetTest, LaterDenialRevokes) {
  const SampleParts parts = MakeSampleParts({.index = 0});
  MustAppend(SignSample(keys_, parts));
  MustAppend(MakeSample(keys_, {.index = 1}));
  MustAppend(MakeDecision(keys_, HexEncode(Sha256(parts.capture.ToJson())), "deny", 1));
  const absl::StatusOr<AppendedEntry> entry = log_->CreateDataset(Request());
  ASSERT_TRUE(entry.ok()) << entry.status();
  const DatasetManifest manifest = ManifestOf(*entry);
  ASSERT_EQ(manifest.samples.size(), 1u);
  EXPECT_EQ(manifest.samples[0].prompt_id, "prompt-1");
}

TEST_F(LogDatasetTest, ErasureTakesTextAndPlaceInDatasets) {
  const uint64_t erased = MustAppend(MakeSample(keys_, {.index = 0}));
  MustAppend(MakeSample(keys_, {.index = 1}));
  const ErasureRequest request{
      .sample_entry = erased, .request_id = UuidOf("erase"), .reason = "asked", .authority = "GDPR Art. 17"};
  const absl::StatusOr<AppendedEntry> entry = log_->Erase(request);
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(log_->ReadPayload(erased).status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(log_->ReadEntry(erased).ok());
  EXPECT_TRUE(log_->Erase(request)->repeated);
  ErasureRequest twice = request;
  twice.request_id = UuidOf("erase twice");
  EXPECT_EQ(log_->Erase(twice).status().code(), absl::StatusCode::kFailedPrecondition);
  twice.sample_entry = 0;
  EXPECT_EQ(log_->Erase(twice).status().code(), absl::StatusCode::kInvalidArgument);
  const absl::StatusOr<AppendedEntry> dataset = log_->CreateDataset(Request());
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  EXPECT_EQ(ManifestOf(*dataset).samples.size(), 1u);
  Reopen();
  EXPECT_EQ(log_->ReadPayload(erased).status().code(), absl::StatusCode::kNotFound);
}

// Enough entries for two full tiles and a level above, compared at every size with a tree of plain leaf
// hashes.
TEST_F(LogTest, TreeProofsAndReopeningAcrossTileBorders) {
  std::vector<AppendRequest> requests;
  for (int i = 0; i < 520; ++i) requests.push_back(MakeDecision(keys_, std::string(64, 'a'), "deny", i));
  std::atomic<size_t> next{0};
  std::vector<std::thread> writers;
  for (int w = 0; w < 16; ++w) {
    writers.emplace_back([&] {
      for (size_t i; (i = next.fetch_add(1)) < requests.size();) EXPECT_TRUE(log_->Append(requests[i]).ok());
    });
  }
  for (std::thread& writer : writers) writer.join();
  for (int round = 0; round < 2; ++round) {
    std::vector<Digest> hashes;
    ASSERT_TRUE(log_->ForEachEntry(0, 1 << 20, std::nullopt,
                                   [&](const StoredEntry& entry) {
                                     EXPECT_EQ(entry.index, hashes.size());
                                     hashes.push_back(entry.leaf_hash);
                                     return absl::OkStatus();
                                   })
                    .ok());
    const uint64_t size = kKeyEntries + requests.size();
    ASSERT_EQ(hashes.size(), size);
    EXPECT_EQ(RootOf(hashes), log_->CheckpointNote().checkpoint.root);
    for (const uint64_t at : {uint64_t{1}, uint64_t{6}, uint64_t{255}, uint64_t{256}, uint64_t{257},
                              uint64_t{511}, uint64_t{512}, uint64_t{513}, size}) {
      const std::vector<Digest> prefix(hashes.begin(), hashes.begin() + static_cast<ptrdiff_t>(at));
      const absl::StatusOr<SignedCheckpoint> checkpoint = log_->CheckpointNoteAt(at);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
      EXPECT_EQ(checkpoint->checkpoint.root, RootOf(prefix));
      const auto consistency = log_->ConsistencyProof(at, size);
      ASSERT_TRUE(consistency.ok()) << consistency.status();
      EXPECT_TRUE(VerifyConsistency(at, size, *consistency, RootOf(prefix), RootOf(hashes)).ok()) << at;
      const auto inclusion = log_->InclusionProof(at - 1, size);
      ASSERT_TRUE(inclusion.ok()) << inclusion.status();
      EXPECT_TRUE(VerifyInclusion(at - 1, size, hashes[at - 1], *inclusion, RootOf(hashes)).ok()) << at;
    }
    EXPECT_EQ(log_->InclusionProof(0, size + 1).status().code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(log_->InclusionProof(size, size).status().code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(log_->ConsistencyProof(0, size + 1).status().code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(log_->CheckpointNoteAt(size + 1).status().code(), absl::StatusCode::kOutOfRange);
    Reopen();
  }
}

TEST_F(LogTest, ManyThreadsNeitherLoseNorDouble) {
  std::vector<AppendRequest> requests;
  for (int i = 0; i < 40; ++i) requests.push_back(MakeSample(keys_, {.index = i}));
  std::vector<std::thread> writers;
  std::vector<std::set<uint64_t>> indices(8);
  for (size_t w = 0; w < indices.size(); ++w) {
    writers.emplace_back([&, w] {  // each appends all of them
      for (size_t i = 0; i < requests.size(); ++i) {
        const auto entry = log_->Append(requests[(i * 7 + w) % requests.size()]);
        ASSERT_TRUE(entry.ok()) << entry.status();
        indices[w].insert(entry->index);
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(log_->CheckpointNote().checkpoint.size, kKeyEntries + requests.size());
  for (const std::set<uint64_t>& seen : indices) EXPECT_EQ(seen.size(), requests.size());
}

TEST_F(LogTest, FullQueueIsUnavailable) {
  log_.reset();
  LogOptions options = MakeOptions(keys_, folder_ / "log");
  options.queue_max = 1;
  log_ = *Log::Open(std::move(options));
  std::atomic<int> appended{0}, unavailable{0};
  std::vector<std::thread> writers;
  for (int w = 0; w < 16; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < 8; ++i) {
        const absl::Status status =
            AppendStatus(MakeDecision(keys_, std::string(64, 'b'), "deny", 1000 * w + i));
        if (status.ok())
          ++appended;
        else if (status.code() == absl::StatusCode::kUnavailable)
          ++unavailable;
        else
          ADD_FAILURE() << status;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(appended + unavailable, 128);
  EXPECT_GT(unavailable, 0);
  EXPECT_EQ(log_->CheckpointNote().checkpoint.size, kKeyEntries + static_cast<uint64_t>(appended));
}

TEST_F(LogTest, TimesNeverRunBackwards) {
  log_.reset();
  LogOptions options = MakeOptions(keys_, folder_ / "log");
  options.now_us = [] { return int64_t{5}; };
  log_ = *Log::Open(std::move(options));
  const absl::StatusOr<AppendedEntry> entry = log_->Append(MakeSample(keys_, {}));
  ASSERT_TRUE(entry.ok()) << entry.status();
  EXPECT_EQ(entry->time_us, 1'767'323'045'000'006);
}

TEST_F(LogTest, KeysComeAndGoWithTheConfiguration) {
  log_.reset();
  LogOptions options = MakeOptions(keys_, folder_ / "log");
  const SigningKey second = *keys_.teacher.WithName("test/teacher-renamed");
  options.trusted_keys[0].vkey = second.vkey();
  log_ = *Log::Open(std::move(options));
  EXPECT_EQ(log_->CheckpointNote().checkpoint.size, kKeyEntries + 2);
  const auto retired = KeyStatement::Parse(log_->ReadEntry(kKeyEntries)->entry.statements[0].statement);
  EXPECT_EQ(retired->action, "retire");
  EXPECT_EQ(retired->vkey, keys_.teacher.vkey());
  const auto added = KeyStatement::Parse(log_->ReadEntry(kKeyEntries + 1)->entry.statements[0].statement);
  EXPECT_EQ(added->action, "add");
  log_.reset();
  options = MakeOptions(keys_, folder_ / "log");
  options.trusted_keys.erase(options.trusted_keys.begin());
  log_ = *Log::Open(std::move(options));
  const absl::Status status = AppendStatus(MakeSample(keys_, {}));
  EXPECT_TRUE(IsSignatureInvalid(status)) << status;
}

}  // namespace
}  // namespace retort::ledger
