#include "ledger/verify/evidence.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "ledger/dataset_manifest.h"
#include "ledger/hex.h"
#include "ledger/merkle.h"
#include "ledger/tile.h"
#include "ledger/verify/pack_manifest.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

namespace fs = std::filesystem;

constexpr char kPack[] = "id: smollm2\n";
constexpr char kWeights[] = "not really weights";

// A whole run: keys 0-5, pack 6, samples 7-9, dataset 10, training 11-13, release 14.
class EvidenceTest : public testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(MakeOptions(keys_, folder_ / "log"));
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    Append(MakePolicyPack(keys_, kPack));
    Append(MakeSample(keys_, {.index = 0}));
    Append(MakeSample(keys_, {.index = 1, .effect = "review"}));
    Append(MakeSample(keys_, {.index = 2, .split = "held_out"}));
    const auto dataset = log_->CreateDataset({.dataset = "projects/demo/datasets/d",
                                              .job = kJob,
                                              .job_uid = kJobUid,
                                              .request_id = UuidOf("dataset")});
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    const TrainingStatement start = MakeTraining(10, "start", 0, "");
    Append(SignTraining(keys_, start));
    const TrainingStatement checkpoint = MakeTraining(10, "checkpoint", 1, start.checkpoint_digest);
    Append(SignTraining(keys_, checkpoint));
    const TrainingStatement finish = MakeTraining(10, "finish", 2, checkpoint.checkpoint_digest);
    Append(SignTraining(keys_, finish));
    release_ = {.project = kProject,
                .request_id = UuidOf("release"),
                .job = kJob,
                .job_uid = kJobUid,
                .student = "projects/demo/students/s",
                .dataset_entry = 10,
                .training_entry = 13,
                .checkpoint_digest = finish.checkpoint_digest,
                .files = {{"model.safetensors", HexEncode(Sha256(kWeights)), sizeof kWeights - 1},
                          {"sub/config.json", HexEncode(Sha256("{}")), 2}}};
  }

  void Append(AppendRequest request) {
    const absl::StatusOr<AppendedEntry> entry = log_->Append(std::move(request));
    ASSERT_TRUE(entry.ok()) << entry.status();
  }

  void Export(bool release = true) {
    if (release) Append(SignRelease(keys_, release_));
    WriteEvidence(*log_, Pack());
    if (release) {
      WriteWholeFile(Pack() + "/student/model.safetensors", kWeights);
      WriteWholeFile(Pack() + "/student/sub/config.json", "{}");
    }
    Seal(release);
  }

  void Seal(bool release = true) {
    ASSERT_TRUE(WritePackManifest(Pack(), release ? std::optional<uint64_t>(14) : std::nullopt).ok());
  }

  std::string Pack() const { return folder_ / "pack"; }
  std::string Bundle() const {
    return Pack() + "/" + TilePath(BundlesOf(log_->CheckpointNote().checkpoint.size).front());
  }

  VerifyReport Verify(const EvidenceVisitor& visitor = {}) const {
    const absl::StatusOr<VerifyReport> report = VerifyEvidence(Pack(), log_->vkey(), "", visitor);
    EXPECT_TRUE(report.ok()) << report.status();
    return *report;
  }

  // Where entry `index` begins in the bundle, after its length.
  size_t OffsetOf(uint64_t index) const {
    const std::string bundle = ReadWholeFile(Bundle());
    size_t at = 0;
    for (uint64_t i = 0; i < index; ++i) {
      at += 2 + (static_cast<size_t>(static_cast<uint8_t>(bundle[at])) << 8 |
                 static_cast<uint8_t>(bundle[at + 1]));
    }
    return at + 2;
  }

  void Flip(const std::string& path, size_t at) {
    std::string bytes = ReadWholeFile(path);
    ASSERT_LT(at, bytes.size());
    bytes[at] ^= 1;
    WriteWholeFile(path, bytes);
  }

  TemporaryFolder folder_;
  TestKeys keys_ = TestKeys::Make();
  std::unique_ptr<Log> log_;
  ReleaseStatement release_;
};

TEST_F(EvidenceTest, AnHonestPackVerifies) {
  Export();
  uint64_t decisions = 0, packs = 0, datasets = 0, milestones = 0, releases = 0, done = 0;
  const EvidenceVisitor visitor{
      .policy_pack =
          [&](uint64_t index, const PolicyPackStatement&, std::string_view pack) {
            EXPECT_EQ(index, 6u);
            EXPECT_EQ(pack, kPack);
            ++packs;
            return absl::OkStatus();
          },
      .decision =
          [&](uint64_t, const DecisionStatement& decision, const CaptureStatement* capture) {
            EXPECT_NE(capture, nullptr);
            EXPECT_EQ(decision.job, kJob);
            ++decisions;
            return absl::OkStatus();
          },
      .dataset = [&](uint64_t, const DatasetStatement&) { return ++datasets, absl::OkStatus(); },
      .training = [&](uint64_t, const TrainingStatement&) { return ++milestones, absl::OkStatus(); },
      .release = [&](uint64_t, const ReleaseStatement&) { return ++releases, absl::OkStatus(); },
      .progress = [&](uint64_t now, uint64_t total) { done = now == total; }};
  const VerifyReport report = Verify(visitor);
  EXPECT_EQ(report.Verdict(), "VERIFIED");
  EXPECT_EQ(report.checkpoint, log_->CheckpointNote().checkpoint);
  EXPECT_EQ(report.release_entry, 14u);
  EXPECT_EQ(decisions, 3u);
  EXPECT_EQ(packs, 1u);
  EXPECT_EQ(datasets, 1u);
  EXPECT_EQ(milestones, 3u);
  EXPECT_EQ(releases, 1u);
  EXPECT_EQ(done, 1u);
  EXPECT_FALSE(report.not_checked.empty());
}

TEST_F(EvidenceTest, WithoutAReleaseThereIsNoStudent) {
  Export(false);
  EXPECT_EQ(Verify().Verdict(), "VERIFIED");
  WriteWholeFile(Pack() + "/student/model.safetensors", kWeights);
  Seal(false);
  EXPECT_EQ(Verify().Verdict(),
            "FAILED: student: files are here, but the pack names no RELEASE entry for them");
}

TEST_F(EvidenceTest, NamesTheStatementOfAFlippedByte) {
  Export();
  const std::string bundle = ReadWholeFile(Bundle());
  const size_t sample = OffsetOf(7);
  Flip(Bundle(), sample + 14 + 5 + 20);  // header, type and length, then the capture
  EXPECT_EQ(Verify().Verdict(), "FAILED: entry 7 (SAMPLE): capture signature does not verify");
  WriteWholeFile(Bundle(), bundle);
  const size_t decision = bundle.find("\"effect\":\"allow\"", sample);
  Flip(Bundle(), decision + 12);
  EXPECT_EQ(Verify().Verdict(), "FAILED: entry 7 (SAMPLE): decision signature does not verify");
  WriteWholeFile(Bundle(), bundle);
  Flip(Bundle(), sample + 13);  // the time, which no signature covers
  EXPECT_EQ(Verify().Verdict().substr(0, 30), "FAILED: entry 7: leaf hash is ");
}

TEST_F(EvidenceTest, EveryFlippedByteOfEveryFileIsNoticed) {
  Export();
  for (const auto& file : fs::recursive_directory_iterator(Pack())) {
    if (!file.is_regular_file()) continue;
    const std::string path = file.path().string();
    const std::string good = ReadWholeFile(path);
    // All bytes of short files, a stride through long ones.
    for (size_t i = 0; i<good.size(); i += good.size()> 1000 ? 997 : 29) {
      std::string bad = good;
      bad[i] ^= 1;
      WriteWholeFile(path, bad);
      EXPECT_NE(Verify().Verdict(), "VERIFIED") << path << " " << i;
    }
    WriteWholeFile(path, good);
  }
  EXPECT_EQ(Verify().Verdict(), "VERIFIED");
}

// The manifest proves nothing, so whoever changes a file can change it too.
TEST_F(EvidenceTest, AResealedManifestHidesNothing) {
  Export();
  Flip(Bundle(), OffsetOf(9) + 50);
  Seal();
  EXPECT_EQ(Verify().Verdict(), "FAILED: entry 9 (SAMPLE): capture signature does not verify");
}

TEST_F(EvidenceTest, NamesTheReleasedFile) {
  Export();
  const std::string weights = Pack() + "/student/model.safetensors";
  Flip(weights, 3);
  std::string changed = kWeights;
  changed[3] ^= 1;
  EXPECT_EQ(Verify().Verdict(), "FAILED: student/model.safetensors: SHA-256 " + HexEncode(Sha256(changed)) +
                                    ", wanted " + HexEncode(Sha256(kWeights)));
  WriteWholeFile(weights, std::string(kWeights).substr(0, 5));
  EXPECT_EQ(Verify().Verdict(), "FAILED: student/model.safetensors: truncated at byte 5, wanted 18 bytes");
  fs::remove(weights);
  EXPECT_EQ(Verify().Verdict(), "FAILED: student/model.safetensors: is missing");
  WriteWholeFile(weights, kWeights);
  WriteWholeFile(Pack() + "/student/extra", "x");
  Seal();
  EXPECT_EQ(Verify().Verdict(), "FAILED: student/extra: is not among the files of entry 14 (RELEASE)");
}

TEST_F(EvidenceTest, EveryTruncationOfABundleIsNamed) {
  Export();
  const std::string bundle = ReadWholeFile(Bundle());
  for (size_t length = 0; length < bundle.size(); length += 1301) {
    WriteWholeFile(Bundle(), bundle.substr(0, length));
    const std::string verdict = Verify().Verdict();
    EXPECT_EQ(
        verdict.rfind(
            "FAILED: tile/entries/000.p/15: truncated at byte " + std::to_string(length) + ", entry ", 0),
        0u)
        << verdict;
  }
  fs::remove(Bundle());
  EXPECT_EQ(Verify().Verdict(), "FAILED: tile/entries/000.p/15: is missing");
}

TEST_F(EvidenceTest, NamesMissingAndChangedAttachments) {
  Export();
  const std::string path = "attachments/" + HexEncode(Sha256(kPack));
  Flip(Pack() + "/" + path, 0);
  EXPECT_EQ(Verify().Verdict(), "FAILED: entry 6 (POLICY_PACK): names pack " + HexEncode(Sha256(kPack)) +
                                    ", which attachments/ does not hold unchanged");
  fs::remove(Pack() + "/" + path);
  EXPECT_NE(Verify().Verdict(), "VERIFIED");
}

TEST_F(EvidenceTest, CheckpointMustBeOfTheTrustedLog) {
  Export();
  const std::string other = SigningKey::FromSeed(kOrigin, AsView(Sha256("another")))->vkey();
  const auto report = VerifyEvidence(Pack(), other, "", {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->Verdict().rfind("FAILED: checkpoint: note", 0), 0u) << report->Verdict();
  EXPECT_NE(VerifyEvidence(Pack(), log_->vkey(), "another/origin", {})->Verdict(), "VERIFIED");
  EXPECT_EQ(VerifyEvidence(Pack(), "nonsense", "", {}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(VerifyEvidence(folder_ / "absent", log_->vkey(), "", {}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(EvidenceTest, LinksInThePackAreRefused) {
  Export();
  fs::create_symlink("/etc/hostname", Pack() + "/student/link");
  EXPECT_EQ(Verify().findings.front().where, "pack");
}

TEST_F(EvidenceTest, ReleaseMustBeOfTheFinishedRun) {
  release_.checkpoint_digest = std::string(64, '0');
  Export();
  EXPECT_EQ(Verify().Verdict().rfind("FAILED: entry 14 (RELEASE): releases state 000", 0), 0u)
      << Verify().Verdict();
}

TEST_F(EvidenceTest, RunsAreChains) {
  TrainingStatement wrong = MakeTraining(10, "start", 7, "");
  wrong.run = "text_only";
  Append(SignTraining(keys_, wrong));
  wrong = MakeTraining(10, "checkpoint", 8, std::string(64, '1'));
  wrong.run = "text_only";
  Append(SignTraining(keys_, wrong));
  Export(false);
  EXPECT_EQ(Verify().Verdict().rfind("FAILED: entry 15 (TRAINING): follows state 111", 0), 0u)
      << Verify().Verdict();
}

TEST_F(EvidenceTest, AttemptsStandBesideTheChain) {
  Append(SignTraining(keys_, MakeUsage(10, 1)));
  Append(SignTraining(keys_, MakeUsage(10, 2)));
  Export(false);
  std::vector<int64_t> attempts;
  const EvidenceVisitor visitor{.training = [&](uint64_t, const TrainingStatement& statement) {
    if (!statement.is_milestone()) attempts.push_back(statement.usage.attempt);
    return absl::OkStatus();
  }};
  const VerifyReport report = Verify(visitor);
  EXPECT_EQ(report.Verdict(), "VERIFIED");
  EXPECT_EQ(attempts, (std::vector<int64_t>{1, 2}));
  const auto counted = [&](std::string_view what) {
    for (const Checked& checked : report.checked) {
      if (checked.what.starts_with(what)) return checked.count;
    }
    return uint64_t{0};
  };
  EXPECT_EQ(counted("milestones of training runs"), 3u);
  EXPECT_EQ(counted("attempts at training runs"), 2u);
}

TEST_F(EvidenceTest, AnAttemptLeftOutShows) {
  Append(SignTraining(keys_, MakeUsage(10, 1)));
  Append(SignTraining(keys_, MakeUsage(10, 3)));
  Export(false);
  EXPECT_EQ(Verify().Verdict(),
            "FAILED: entry 15 (TRAINING): tells what attempt 3 used; wanted attempt 2 of its run");
}

TEST_F(EvidenceTest, AttemptsOfEachRunAreCounted) {
  TrainingStatement other = MakeUsage(10, 1);
  other.run = "text_only";
  other.request_id = UuidOf("usage of text_only");
  Append(SignTraining(keys_, other));
  Append(SignTraining(keys_, MakeUsage(10, 1)));
  Export(false);
  EXPECT_EQ(Verify().Verdict(), "VERIFIED");
}

TEST_F(EvidenceTest, VisitorErrorsAreFindingsOfTheEntry) {
  Export();
  const EvidenceVisitor visitor{
      .decision = [](uint64_t index, const DecisionStatement&, const CaptureStatement*) {
        return index == 8 ? absl::DataLossError("evaluates to deny; recorded is review") : absl::OkStatus();
      }};
  EXPECT_EQ(Verify(visitor).Verdict(), "FAILED: entry 8 (SAMPLE): evaluates to deny; recorded is review");
}

// What a log key in wrong hands could sign: entries made without the log's own checks.
class ForgedLogTest : public EvidenceTest {
 protected:
  void SetUp() override {
    for (const auto& [role, vkey] : keys_.Trusted()) Add({kProject, UuidOf(role), role, vkey, "add"});
  }
  void Add(const KeyStatement& key) {
    Add(EntryKind::kKey, {SignStatement(keys_.log, StatementType::kKey, key.ToJson())});
  }
  void Add(EntryKind kind, std::vector<SignedStatement> statements) {
    leaves_.push_back(*EncodeEntry({.kind = kind, .time_us = 1, .statements = std::move(statements)}));
  }
  std::string VerdictOfPack() {
    std::string bundle;
    std::vector<Digest> hashes;
    for (const std::string& leaf : leaves_) {
      AppendToBundle(bundle, leaf);
      hashes.push_back(LeafHash(leaf));
    }
    WriteWholeFile(Pack() + "/" + TilePath(BundlesOf(leaves_.size()).front()), bundle);
    const Checkpoint checkpoint{.origin = kOrigin, .size = leaves_.size(), .root = RootOf(hashes)};
    WriteWholeFile(Pack() + "/checkpoint", SignCheckpoint(checkpoint, keys_.log));
    EXPECT_TRUE(WritePackManifest(Pack(), std::nullopt).ok());
    return VerifyEvidence(Pack(), keys_.log.vkey(), "", {})->Verdict();
  }
  void AddDataset(const std::vector<uint64_t>& listed, int64_t excluded = 0) {
    DatasetManifest manifest;
    for (const uint64_t index : listed) {
      manifest.samples.push_back(
          {.index = index, .leaf_hash = LeafHash(leaves_[index]), .prompt_id = "prompt-0"});
    }
    const std::string json = manifest.ToJson();
    WriteWholeFile(Pack() + "/attachments/" + HexEncode(Sha256(json)), json);
    const DatasetStatement dataset{kProject,
                                   UuidOf("d"),
                                   "d",
                                   kJob,
                                   kJobUid,
                                   HexEncode(Sha256(json)),
                                   static_cast<int64_t>(listed.size()),
                                   0,
                                   excluded};
    Add(EntryKind::kDataset, {SignStatement(keys_.log, StatementType::kDataset, dataset.ToJson())});
  }
  std::vector<std::string> leaves_;
};

TEST_F(ForgedLogTest, RequestIdsAreUnique) {
  Add(EntryKind::kSample, MakeSample(keys_, {}).statements);
  EXPECT_EQ(VerdictOfPack(), "VERIFIED");
  Add(EntryKind::kSample, MakeSample(keys_, {}).statements);
  EXPECT_NE(VerdictOfPack().find("entry 6 (SAMPLE): request id"), std::string::npos) << VerdictOfPack();
}

TEST_F(ForgedLogTest, DatasetsListAllowedSamplesOnly) {
  Add(EntryKind::kSample, MakeSample(keys_, {.effect = "deny"}).statements);
  AddDataset({5});
  EXPECT_EQ(VerdictOfPack(), "FAILED: entry 6 (DATASET): lists entry 5, whose decision does not allow it");
}

TEST_F(ForgedLogTest, DatasetsListSamplesOnly) {
  Add(EntryKind::kSample, MakeSample(keys_, {}).statements);
  AddDataset({5, 0});
  EXPECT_EQ(VerdictOfPack(),
            "FAILED: entry 6 (DATASET): lists entry 0, which is no verified SAMPLE before it");
}

TEST_F(ForgedLogTest, DatasetsCountWhatTheyLeaveOut) {
  Add(EntryKind::kSample, MakeSample(keys_, {}).statements);
  Add(EntryKind::kSample, MakeSample(keys_, {.index = 1, .effect = "deny"}).statements);
  AddDataset({5}, 1);
  EXPECT_EQ(VerdictOfPack(), "VERIFIED");
  leaves_.pop_back();
  AddDataset({5}, 0);
  EXPECT_EQ(VerdictOfPack(),
            "FAILED: entry 7 (DATASET): says that 0 samples of the job are left out; those before it and not "
            "listed are 1");
}

TEST_F(ForgedLogTest, RevokedSamplesStayOut) {
  Add(EntryKind::kSample, MakeSample(keys_, {}).statements);
  const std::string subject = HexEncode(Sha256(MakeSampleParts({}).capture.ToJson()));
  Add(EntryKind::kDecision, MakeDecision(keys_, subject, "deny", 1).statements);
  AddDataset({5});
  EXPECT_EQ(VerdictOfPack(), "FAILED: entry 7 (DATASET): lists entry 5, which a later decision revoked");
}

class ForgedReviewTest : public ForgedLogTest {
 protected:
  // Entry 5 is a sample in review.
  ForgedReviewTest() : sample_(MakeSample(keys_, {.effect = "review"})) {}
  void SetUp() override {
    ForgedLogTest::SetUp();
    Add(EntryKind::kSample, sample_.statements);
  }
  void AddReview(const std::string& verdict, uint64_t entry, const std::string& decision) {
    Add(EntryKind::kReview, MakeReview(keys_, entry, decision, verdict, ++reviews_).statements);
  }
  const std::string& own() const { return sample_.statements[1].statement; }

  const AppendRequest sample_;
  int reviews_ = 0;
};

TEST_F(ForgedReviewTest, ApprovedSamplesAreAdmitted) {
  AddReview("approve", 5, own());
  AddDataset({5});
  EXPECT_EQ(VerdictOfPack(), "VERIFIED");
}

TEST_F(ForgedReviewTest, WithoutAReviewTheyStayOut) {
  AddDataset({5});
  EXPECT_EQ(VerdictOfPack(),
            "FAILED: entry 6 (DATASET): lists entry 5, which waits for a review that nobody has given");
}

TEST_F(ForgedReviewTest, NewestReviewCounts) {
  AddReview("approve", 5, own());
  AddReview("reject", 5, own());
  AddDataset({5});
  EXPECT_EQ(VerdictOfPack(), "FAILED: entry 8 (DATASET): lists entry 5, which a review rejected");
}

TEST_F(ForgedReviewTest, NewDecisionAsksForANewReview) {
  AddReview("approve", 5, own());
  const std::string subject = HexEncode(Sha256(MakeSampleParts({}).capture.ToJson()));
  const auto later = MakeDecision(keys_, subject, "review", 1);
  Add(EntryKind::kDecision, later.statements);
  AddDataset({5});
  EXPECT_EQ(VerdictOfPack(),
            "FAILED: entry 8 (DATASET): lists entry 5, which waits for a review that nobody has given");
  leaves_.pop_back();
  AddReview("approve", 7, later.statements[0].statement);
  AddDataset({5});
  EXPECT_EQ(VerdictOfPack(), "VERIFIED");
}

TEST_F(ForgedReviewTest, NoReviewHelpsADeniedSample) {
  const auto denied = MakeSample(keys_, {.index = 1, .effect = "deny"});
  Add(EntryKind::kSample, denied.statements);
  AddReview("approve", 6, denied.statements[1].statement);
  AddDataset({6}, 1);
  EXPECT_EQ(VerdictOfPack(), "FAILED: entry 8 (DATASET): lists entry 6, whose decision does not allow it");
}

TEST_F(ForgedReviewTest, ReviewIsOfTheDecisionInItsEntry) {
  AddReview("approve", 5, "another decision");
  EXPECT_NE(VerdictOfPack().find("entry 6 (REVIEW): reviews entry 5, which holds no such decision"),
            std::string::npos)
      << VerdictOfPack();
}

TEST_F(ForgedLogTest, KeysCountOnlyAfterTheirEntry) {
  leaves_.erase(leaves_.begin());  // the teacher's key comes too late
  Add(EntryKind::kSample, MakeSample(keys_, {}).statements);
  Add({kProject, UuidOf("late"), "teacher", keys_.teacher.vkey(), "add"});
  EXPECT_NE(VerdictOfPack().find("entry 4 (SAMPLE): capture is signed by key"), std::string::npos)
      << VerdictOfPack();
}

TEST(PackManifestTest, RefusesPathsOutsideThePack) {
  PackManifest manifest;
  manifest.files["a/b"] = {};
  EXPECT_TRUE(PackManifest::Parse(manifest.ToJson()).ok());
  for (const std::string path : {"", "/a", "../a", "a/../b", "a/./b", "a//b", "a\\b", "a/"}) {
    PackManifest bad;
    bad.files[path] = {};
    EXPECT_EQ(PackManifest::Parse(bad.ToJson()).status().code(), absl::StatusCode::kInvalidArgument) << path;
  }
}

}  // namespace
}  // namespace retort::ledger
