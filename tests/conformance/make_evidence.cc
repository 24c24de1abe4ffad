// Writes a small evidence pack with every kind of entry, from keys made of published seeds, for programs that
// verify packs without our code.
//
//   make_evidence FOLDER      writes FOLDER/pack and FOLDER/log.vkey; FOLDER is empty or not there
#include <cstdio>
#include <string>
#include <vector>

#include "ledger/hex.h"
#include "ledger/verify/pack_manifest.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

constexpr char kWeights[] = "not really weights";

class Run {
 public:
  explicit Run(std::string folder) : folder_(std::move(folder)), keys_(TestKeys::Make()) {}

  absl::Status Write() {
    absl::StatusOr<std::unique_ptr<Log>> log = Log::Open(MakeOptions(keys_, folder_ + "/log"));
    if (!log.ok()) return log.status();
    log_ = *std::move(log);
    Append(MakePolicyPack(keys_, "id: smollm2\n"));
    for (int64_t i = 0; i < 300; ++i) {  // more than one bundle
      Append(MakeSample(keys_, {.index = i,
                                .split = i % 4 == 3 ? "held_out" : "train",
                                .effect = i == 1 || i == 5 || i == 6 ? "review" : "allow"}));
    }
    // One is rejected, one approved after a rejection, and one stays in review.
    int reviews = 0;
    for (const auto& [sample, verdict] : {std::pair(1, "reject"), {5, "reject"}, {5, "approve"}}) {
      const absl::StatusOr<StoredEntry> in_review =
          log_->ReadEntry(first_sample_ + static_cast<uint64_t>(sample));
      if (!in_review.ok()) return in_review.status();
      Append(
          MakeReview(keys_, in_review->index, in_review->entry.statements[1].statement, verdict, ++reviews));
    }
    const absl::StatusOr<StoredEntry> revoked = log_->ReadEntry(first_sample_ + 2);
    if (!revoked.ok()) return revoked.status();
    Append(MakeDecision(keys_, HexEncode(Sha256(revoked->entry.statements[0].statement)), "deny", 1));
    Keep(log_->Erase({first_sample_ + 4, UuidOf("erase"), "asked for by its author", "the operator"}));
    const uint64_t dataset = Keep(log_->CreateDataset({.dataset = "projects/demo/datasets/d",
                                                       .job = kJob,
                                                       .job_uid = kJobUid,
                                                       .request_id = UuidOf("dataset")}));
    const TrainingStatement start = MakeTraining(dataset, "start", 0, "");
    Append(SignTraining(keys_, start));
    const TrainingStatement checkpoint = MakeTraining(dataset, "checkpoint", 1, start.checkpoint_digest);
    Append(SignTraining(keys_, checkpoint));
    const TrainingStatement finish = MakeTraining(dataset, "finish", 2, checkpoint.checkpoint_digest);
    const uint64_t finished = Append(SignTraining(keys_, finish));
    Append(SignTraining(keys_, MakeUsage(dataset, 1)));
    Append(SignAccess(keys_.jobs, MakeAccess("allow", 1)));
    Append(SignAccess(keys_.log, MakeAccess("deny", 1000)));
    const uint64_t release = Append(
        SignRelease(keys_, {.project = kProject,
                            .request_id = UuidOf("release"),
                            .job = kJob,
                            .job_uid = kJobUid,
                            .student = "projects/demo/students/s",
                            .dataset_entry = static_cast<int64_t>(dataset),
                            .training_entry = static_cast<int64_t>(finished),
                            .checkpoint_digest = finish.checkpoint_digest,
                            .files = {{"model.safetensors", HexEncode(Sha256(kWeights)), sizeof kWeights - 1},
                                      {"sub/config.json", HexEncode(Sha256("{}")), 2}}}));
    if (!status_.ok()) return status_;
    const std::string pack = folder_ + "/pack";
    WriteEvidence(*log_, pack);
    WriteWholeFile(pack + "/student/model.safetensors", kWeights);
    WriteWholeFile(pack + "/student/sub/config.json", "{}");
    WriteWholeFile(folder_ + "/log.vkey", log_->vkey() + "\n");
    return WritePackManifest(pack, release);
  }

 private:
  // The index of what was appended; the first error is kept.
  uint64_t Keep(const absl::StatusOr<AppendedEntry>& entry) {
    if (!entry.ok()) {
      status_.Update(entry.status());
      return 0;
    }
    return entry->index;
  }
  uint64_t Append(AppendRequest request) {
    const bool sample = request.kind == EntryKind::kSample;
    const uint64_t index = Keep(log_->Append(std::move(request)));
    if (sample && first_sample_ == 0) first_sample_ = index;
    return index;
  }

  std::string folder_;
  TestKeys keys_;
  std::unique_ptr<Log> log_;
  uint64_t first_sample_ = 0;
  absl::Status status_;
};

}  // namespace
}  // namespace retort::ledger

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "make_evidence FOLDER\n");
    return 2;
  }
  const absl::Status written = retort::ledger::Run(argv[1]).Write();
  if (!written.ok()) std::fprintf(stderr, "make_evidence: %s\n", std::string(written.message()).c_str());
  return written.ok() ? 0 : 1;
}
