// One training run: samples in, checkpoints out, the same bits every time.
//
// A run folder holds the manifest and the last two checkpoints. Create resumes from the newest good one, or
// starts from the seed. Everything that a step depends on is in the checkpoint, so a run that was stopped at
// any moment and resumed is byte for byte the run that was not; and nothing depends on the number of threads.
//
//   auto trainer = Trainer::Create(manifest, train_samples, {.run_dir = dir, .threads = 2});
//   for (;;) {
//     if ((*trainer)->CheckpointDue()) (*trainer)->Save();
//     if ((*trainer)->step() == manifest.steps) break;
//     (*trainer)->Step();
//   }
//
// Several processes can train one run (student/parallel): each has a Trainer with the same manifest, samples
// and world, and makes the same calls in the same order. Rank 0 alone has a run folder, writes, measures and
// knows digests; on the others Save, Describe, Evaluate and Export take part in gathering the state and
// return empty values. Failures of the run are Unavailable on every rank, with the reason that names the
// rank: nothing was saved since the last checkpoint, and a new launch, with any number of processes, goes on
// from there.
//
// Not thread-safe; the threads inside are its own.
#ifndef STUDENT_TRAINING_TRAINER_H_
#define STUDENT_TRAINING_TRAINER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/approved_sample.h"
#include "student/device/backend.h"
#include "student/evaluation/evaluate.h"
#include "student/model/config.h"
#include "student/parallel/collectives.h"
#include "student/tokenizer/tokenizer.h"
#include "student/training/document.h"
#include "student/training/manifest.h"

namespace retort::student {

struct TrainerOptions {
  std::string run_dir;  // made when missing; locked against a second trainer while this one lives
  int threads = 0;      // 0 means all cores
  const Tokenizer* tokenizer =
      nullptr;  // for samples without ids; null: they are refused. Must outlive the trainer
  std::function<void(std::string_view)>
      log;                 // lines for people: a torn checkpoint, split samples; may be empty
  World* world = nullptr;  // the ranks of the run; null: alone. Must outlive the trainer
  // Where the student trains (student/device/device.h); null: this processor. Must outlive the trainer.
  // Measuring and export are done on the host. A checkpoint fits every device; its state names the one that
  // computed the last step.
  Backend* backend = nullptr;
};

// Where the wall time of one step went, in seconds. What a backend cannot tell apart without slowing stays 0
// and its time is in the phase that surrounds it.
struct StepPhases {
  double data = 0;           // choosing rows and packing batches
  double forward = 0;        // up to the final norm
  double backward = 0;       // head and loss included
  double optimizer = 0;      // clipping, AdamW, routing bias
  double communication = 0;  // waiting for other processes; 0 alone
};

struct TrainedStep {
  int64_t step = 0;  // after the step, from 1
  double loss = 0;   // nats per valid token, over the whole step
  // Cross-entropy of the modules of multi-token prediction, nats per target of theirs; not in `loss`. Absent
  // without modules, and in a step whose documents are all too short for them.
  std::optional<double> prediction_loss;
  int64_t tokens = 0;        // forwarded, padding excluded
  int64_t valid_tokens = 0;  // that carried loss
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;
  double seconds = 0;
  StepPhases phases;
  double average_context = 0;          // earlier tokens that a token attends to, itself included, on average
  std::vector<int64_t> expert_tokens;  // sent to each expert in this step, [moe_layers, experts]
};

struct CheckpointInfo {
  int64_t step = 0;
  std::string digest;             // lower-case hex SHA-256 of the state (student/training/checkpoint.h)
  std::string previous_digest;    // of the due checkpoint before; empty for the initial state
  std::string transcript_digest;  // hash chain over the samples of every step so far
  std::string loss;               // of the last step, decimal; empty at step 0
};

class Trainer {
 public:
  // Turns the samples into documents, packs them, and loads the newest good checkpoint of the run folder if
  // there is one. A torn or altered checkpoint is said so through `log` and the one before it is used.
  // InvalidArgument: the manifest is invalid, or a sample is malformed (student/training/document.h).
  // InvalidArgument also: the world's layout does not fit the manifest (student/parallel/layout.h).
  // FailedPrecondition: the folder holds another run (another manifest or other samples); a sample has
  // another
  //   tokenizer; no sample; a held-out sample among them; another trainer holds the folder's lock.
  // DataLoss: checkpoints are there and none of them is good. Unavailable: the disk refuses, or the device.
  // ResourceExhausted: training does not fit into the device's memory; with the numbers.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const TrainingManifest& manifest,
                                                         const std::vector<ledger::ApprovedSample>& train,
                                                         TrainerOptions options);
  ~Trainer();

  // Steps done; the one that was resumed from, at first.
  int64_t step() const;
  // The state as of now, without writing it. At step 0: the initial state.
  absl::StatusOr<CheckpointInfo> Describe() const;

  // Whether the state is one that the manifest saves (step 0, every checkpoint_every, the last) and is not
  // saved yet.
  bool CheckpointDue() const;

  // Whether `here` is true on any rank; the same answer on all. Unavailable when the run has failed.
  absl::StatusOr<bool> OnAnyRank(bool here);

  // One optimiser step. FailedPrecondition when the run is finished or a checkpoint is due; Internal when the
  // loss or the gradient is not finite (the state is then as before the step); Unavailable, with the driver's
  // reason, when the device is lost: nothing more can be done here, a new launch resumes from the last
  // checkpoint.
  absl::StatusOr<TrainedStep> Step();

  // Writes a checkpoint, due or not (one that is not due leaves no mark on later digests): a temporary file,
  // synced, renamed, folder synced; then drops all but the last two. Unavailable when the disk refuses; the
  // older checkpoints are then untouched.
  absl::StatusOr<CheckpointInfo> Save();

  // Documents of held-out samples, checked as Create checks the others.
  absl::StatusOr<std::vector<Document>> HeldOutDocuments(
      const std::vector<ledger::ApprovedSample>& samples) const;
  // Measures the student as it is now, or as it was at step 0. Errors of student/evaluation/evaluate.h.
  absl::StatusOr<Quality> Evaluate(const std::vector<Document>& held_out);
  absl::StatusOr<Quality> EvaluateUntrained(const std::vector<Document>& held_out);

  // Writes the student as it is now for Hugging Face (student/export/hugging_face.h) into `folder`, with the
  // state of Describe() beside it. Errors of WriteStudent.
  absl::Status Export(const std::string& folder, const Tokenizer& tokenizer) const;

  const ModelConfig& config() const;
  int64_t split_documents() const;  // longer than a row, hence cut into several

 private:
  struct Impl;
  explicit Trainer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::student

#endif  // STUDENT_TRAINING_TRAINER_H_
