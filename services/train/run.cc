#include "services/train/run.h"

#include <memory>
#include <utility>
#include <vector>

#include "ledger/hex.h"
#include "ledger/statement.h"
#include "ledger/uuid.h"
#include "student/model/config.h"
#include "student/training/trainer.h"

namespace retort::train {
namespace {

class Milestones {
 public:
  Milestones(const RunOptions& options, const ledger::SigningKey& key, LedgerClient& client)
      : options_(options), key_(key), client_(client) {}

  // Appends the milestone of a checkpoint that the manifest schedules. The bytes depend on the run alone.
  absl::StatusOr<int64_t> Append(const student::CheckpointInfo& checkpoint) {
    ledger::TrainingStatement statement;
    statement.project = options_.project;
    statement.job = options_.job;
    statement.job_uid = options_.job_uid;
    statement.run = options_.manifest.run;
    statement.phase = checkpoint.step == 0                         ? "start"
                      : checkpoint.step == options_.manifest.steps ? "finish"
                                                                   : "checkpoint";
    statement.request_id =
        MilestoneRequestId(statement.job_uid, statement.run, statement.phase, checkpoint.step);
    statement.dataset_entry = static_cast<int64_t>(options_.dataset_entry);
    statement.manifest_sha256 = options_.manifest.Digest();
    statement.step = checkpoint.step;
    statement.checkpoint_digest = checkpoint.digest;
    statement.previous_digest = checkpoint.previous_digest;
    statement.transcript_digest = checkpoint.transcript_digest;
    statement.loss = checkpoint.loss;
    const auto signed_statement =
        ledger::SignStatement(key_, ledger::StatementType::kTraining, statement.ToJson());
    return client_.AppendTraining(options_.project, signed_statement,
                                  checkpoint.step == 0 ? options_.manifest.ToJson() : std::string());
  }

 private:
  const RunOptions& options_;
  const ledger::SigningKey& key_;
  LedgerClient& client_;
};

absl::Status CheckTokenizer(const student::TrainingManifest& manifest, const student::Tokenizer& tokenizer) {
  const std::string digest = ledger::HexEncode(tokenizer.Digest());
  if (digest == manifest.tokenizer_sha256) return absl::OkStatus();
  return absl::FailedPreconditionError("tokenizer: the file given has digest " + digest +
                                       "; the training manifest wants " + manifest.tokenizer_sha256);
}

// The last checkpoint's info and the index of its entry.
struct Trained {
  student::CheckpointInfo checkpoint;
  int64_t entry = 0;
};

absl::StatusOr<Trained> Train(const RunOptions& options, student::Trainer& trainer, Milestones& milestones,
                              Events& events) {
  const int64_t steps = options.manifest.steps;
  Trained trained;
  // A run that was resumed at a milestone may have died before the ledger acknowledged it; appended again, it
  // is the same.
  bool attested = trainer.CheckpointDue() ||
                  (trainer.step() % options.manifest.checkpoint_every != 0 && trainer.step() != steps);
  for (;;) {
    if (trainer.CheckpointDue()) {
      auto checkpoint = trainer.Save();
      if (!checkpoint.ok()) return checkpoint.status();
      events.Checkpoint(*checkpoint);
      trained.checkpoint = *std::move(checkpoint);
      attested = false;
    } else if (!attested) {
      auto checkpoint = trainer.Describe();
      if (!checkpoint.ok()) return checkpoint.status();
      trained.checkpoint = *std::move(checkpoint);
    }
    if (!attested) {
      const auto entry = milestones.Append(trained.checkpoint);
      if (!entry.ok()) return entry.status();
      trained.entry = *entry;
      attested = true;
    }
    if (trainer.step() == steps) return trained;
    if (options.stop()) {
      auto checkpoint = trainer.Save();
      if (!checkpoint.ok()) return checkpoint.status();
      events.Checkpoint(*checkpoint);
      return absl::CancelledError("stopped at step " + std::to_string(trainer.step()));
    }
    const auto step = trainer.Step();
    if (!step.ok()) return step.status();
    events.Step(*step, steps);
  }
}

// Held-out samples may lack what is measured (a teacher without log-probabilities); then nothing is said of
// quality.
absl::Status Report(const RunOptions& options, std::string_view student,
                    absl::StatusOr<student::Quality> quality, Events& events) {
  if (absl::IsFailedPrecondition(quality.status())) {
    options.log("quality is not measured: " + std::string(quality.status().message()));
    return absl::OkStatus();
  }
  if (!quality.ok()) return quality.status();
  events.Quality(student, *quality);
  return absl::OkStatus();
}

}  // namespace

std::string MilestoneRequestId(std::string_view job_uid, std::string_view run, std::string_view phase,
                               int64_t step) {
  std::string text = "retort/training/v1\n";
  for (const std::string_view part : {job_uid, run, phase}) text.append(part).append("\n");
  return ledger::UuidFromDigest(ledger::Sha256(text + std::to_string(step)));
}

absl::Status Run(const RunOptions& options, const student::Tokenizer& tokenizer,
                 const ledger::SigningKey& key, LedgerClient& client, Events& events) {
  if (auto s = CheckTokenizer(options.manifest, tokenizer); !s.ok()) return s;
  auto dataset =
      client.ReadDataset({options.project, options.log_vkey, options.job_uid, options.dataset_entry});
  if (!dataset.ok()) return dataset.status();
  options.log("dataset: " + std::to_string(dataset->train.size()) + " samples to train on, " +
              std::to_string(dataset->held_out.size()) + " held out");

  student::TrainerOptions trainer_options;
  trainer_options.run_dir = options.run_dir;
  trainer_options.threads = options.threads;
  trainer_options.tokenizer = &tokenizer;
  trainer_options.log = options.log;
  auto created = student::Trainer::Create(options.manifest, dataset->train, std::move(trainer_options));
  if (!created.ok()) return created.status();
  student::Trainer& trainer = **created;
  const auto held_out = trainer.HeldOutDocuments(dataset->held_out);
  if (!held_out.ok()) return held_out.status();
  *dataset = {};  // the documents have what is needed of it

  const auto counts = student::CountParameters(trainer.config());
  events.Started(counts.total, counts.active, trainer.step());
  if (options.manifest.run == "logits") {
    if (auto s = Report(options, "untrained", trainer.EvaluateUntrained(*held_out), events); !s.ok())
      return s;
  }
  Milestones milestones(options, key, client);
  const auto trained = Train(options, trainer, milestones, events);
  if (!trained.ok()) return trained.status();
  if (auto s = Report(options, options.manifest.run, trainer.Evaluate(*held_out), events); !s.ok()) return s;
  const std::string student_dir = options.run_dir + "/student";
  if (auto s = trainer.Export(student_dir, tokenizer); !s.ok()) return s;
  events.Finished(trained->checkpoint, trained->entry, student_dir);
  return absl::OkStatus();
}

}  // namespace retort::train
