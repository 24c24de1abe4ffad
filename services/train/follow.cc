#include "services/train/follow.h"

#include <utility>

#include "student/training/trainer.h"

namespace retort::train {

absl::Status Follow(const RunOptions& options, const student::Tokenizer& tokenizer, LedgerClient& client) {
  auto dataset =
      client.ReadDataset({options.project, options.log_vkey, options.job_uid, options.dataset_entry});
  if (!dataset.ok()) return dataset.status();
  student::TrainerOptions trainer_options;
  trainer_options.threads = options.threads;
  trainer_options.tokenizer = &tokenizer;
  trainer_options.log = options.log;
  trainer_options.world = options.world;
  trainer_options.backend = options.backend;
  trainer_options.backend = options.backend;
  auto created = student::Trainer::Create(options.manifest, dataset->train, std::move(trainer_options));
  if (!created.ok()) return created.status();
  *dataset = {};
  student::Trainer& trainer = **created;

  // Rank 0 describes a milestone that it resumed at, to append it again; Run says when.
  if (ResumedAtMilestone(trainer, options.manifest)) {
    if (auto described = trainer.Describe(); !described.ok()) return described.status();
  }
  for (;;) {
    if (trainer.CheckpointDue()) {
      if (auto saved = trainer.Save(); !saved.ok()) return saved.status();
    }
    if (trainer.step() == options.manifest.steps) break;
    const auto stop = trainer.OnAnyRank(options.stop());
    if (!stop.ok()) return stop.status();
    if (*stop) {
      if (auto saved = trainer.Save(); !saved.ok()) return saved.status();
      return absl::CancelledError("stopped at step " + std::to_string(trainer.step()));
    }
    if (auto step = trainer.Step(); !step.ok()) return step.status();
  }
  if (auto quality = trainer.Evaluate({}); !quality.ok()) return quality.status();
  return trainer.Export("", tokenizer);
}

}  // namespace retort::train
