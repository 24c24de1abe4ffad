#include "services/train/run.h"

#include <memory>
#include <utility>
#include <vector>

#include "ledger/hex.h"
#include "ledger/statement.h"
#include "ledger/uuid.h"
#include "services/train/metrics_file.h"
#include "services/train/usage_log.h"
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

// Longest row of attempts that a lost run folder is made up for.
constexpr int64_t kLookupsMax = 1000;

// Members of a usage statement that do not depend on the attempt.
ledger::TrainingStatement UsageOf(const RunOptions& options) {
  ledger::TrainingStatement statement;
  statement.project = options.project;
  statement.job = options.job;
  statement.job_uid = options.job_uid;
  statement.run = options.manifest.run;
  statement.dataset_entry = static_cast<int64_t>(options.dataset_entry);
  statement.manifest_sha256 = options.manifest.Digest();
  return statement;
}

// One above every attempt of the folder, and of the ledger: a folder that was lost must not make a number
// come twice.
absl::StatusOr<int64_t> NextAttempt(const RunOptions& options, const UsageLog& log, LedgerClient& client) {
  int64_t next = log.last_attempt() + 1;
  for (;;) {
    std::vector<std::string> ids;
    for (int64_t i = 0; i < kLookupsMax; ++i) {
      ids.push_back(UsageRequestId(options.job_uid, options.manifest.run, next + i));
    }
    const auto known = client.CountKnown(options.project, ids);
    if (!known.ok()) return known.status();
    next += static_cast<int64_t>(*known);
    if (*known < ids.size()) return next;
  }
}

// What the worker tells while it trains: events, metrics, the durable record.
class Voice {
 public:
  Voice(const RunOptions& options, const student::ModelConfig& config, Attempt& attempt, Events& events)
      : options_(options),
        attempt_(attempt),
        events_(events),
        reporter_(config, options.manifest.steps, options.report_every_seconds, options.instruments),
        metrics_(options.metrics_file) {
    totals_.attempt = attempt.usage().attempt;
    totals_.device = options.instruments.device;
  }

  // Saves a checkpoint and says so.
  absl::StatusOr<student::CheckpointInfo> Save(student::Trainer& trainer) {
    const double begun = options_.instruments.seconds();
    auto checkpoint = trainer.Save();
    if (!checkpoint.ok()) return checkpoint;
    reporter_.AddCheckpoint(options_.instruments.seconds() - begun);
    events_.Checkpoint(*checkpoint);
    return checkpoint;
  }

  absl::Status Step(const student::TrainedStep& step) {
    attempt_.Add(step);
    events_.Step(step, options_.manifest.steps);
    reporter_.Add(step);
    if (!reporter_.Due()) return absl::OkStatus();
    const Report report = reporter_.Take();
    totals_.Add(report);
    totals_.report_time_us = options_.instruments.now_us();
    events_.Reported(report);
    const auto written = metrics_.Write(
        MetricsText(report, totals_,
                    {{"job", options_.job}, {"job_uid", options_.job_uid}, {"run", options_.manifest.run}}));
    if (!written.ok() && !metrics_failed_) options_.log("metrics: " + std::string(written.message()));
    metrics_failed_ = !written.ok();
    return attempt_.Record();
  }

 private:
  const RunOptions& options_;
  Attempt& attempt_;
  Events& events_;
  Reporter reporter_;
  MetricsFile metrics_;
  MetricTotals totals_;
  bool metrics_failed_ = false;
};

// The last checkpoint's info and the index of its entry.
struct Trained {
  student::CheckpointInfo checkpoint;
  int64_t entry = 0;
};

absl::StatusOr<Trained> Train(const RunOptions& options, student::Trainer& trainer, Milestones& milestones,
                              Voice& voice) {
  const int64_t steps = options.manifest.steps;
  Trained trained;
  // A run that was resumed at a milestone may have died before the ledger acknowledged it; appended again, it
  // is the same.
  bool attested = !ResumedAtMilestone(trainer, options.manifest);
  for (;;) {
    if (trainer.CheckpointDue()) {
      auto checkpoint = voice.Save(trainer);
      if (!checkpoint.ok()) return checkpoint.status();
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
    const auto stop = trainer.OnAnyRank(options.stop());
    if (!stop.ok()) return stop.status();
    if (*stop) {
      auto checkpoint = voice.Save(trainer);
      if (!checkpoint.ok()) return checkpoint.status();
      return absl::CancelledError("stopped at step " + std::to_string(trainer.step()));
    }
    const auto step = trainer.Step();
    if (!step.ok()) return step.status();
    if (auto s = voice.Step(*step); !s.ok()) return s;
  }
}

// Held-out samples may lack what is measured (a teacher without log-probabilities); then nothing is said of
// quality.
absl::Status Measure(const RunOptions& options, std::string_view student,
                     absl::StatusOr<student::Quality> quality, Events& events) {
  if (absl::IsFailedPrecondition(quality.status())) {
    options.log("quality is not measured: " + std::string(quality.status().message()));
    return absl::OkStatus();
  }
  if (!quality.ok()) return quality.status();
  events.Quality(student, *quality);
  return absl::OkStatus();
}

std::string StudentDir(const RunOptions& options) {
  return options.run_dir + "/student";
}

// The attempt itself, from its record to its finished event.
absl::Status RunAttempt(const RunOptions& options, const student::Tokenizer& tokenizer,
                        const ledger::SigningKey& key, Dataset dataset, LedgerClient& client,
                        Attempt& attempt, Events& events, Trained& trained) {
  student::TrainerOptions trainer_options;
  trainer_options.run_dir = options.run_dir;
  trainer_options.threads = options.threads;
  trainer_options.tokenizer = &tokenizer;
  trainer_options.log = options.log;
  trainer_options.world = options.world;
  trainer_options.backend = options.backend;
  auto created = student::Trainer::Create(options.manifest, dataset.train, std::move(trainer_options));
  if (!created.ok()) return created.status();
  student::Trainer& trainer = **created;
  const auto held_out = trainer.HeldOutDocuments(dataset.held_out);
  if (!held_out.ok()) return held_out.status();
  dataset = {};  // the documents have what is needed of it

  attempt.SetFirstStep(trainer.step());
  const auto counts = student::CountParameters(trainer.config());
  events.Started(counts.total, counts.active, trainer.step());
  if (options.manifest.run == "logits") {
    if (auto s = Measure(options, "untrained", trainer.EvaluateUntrained(*held_out), events); !s.ok())
      return s;
  }
  if (auto s = attempt.Record(); !s.ok()) return s;
  Milestones milestones(options, key, client);
  Voice voice(options, trainer.config(), attempt, events);
  auto done = Train(options, trainer, milestones, voice);
  if (!done.ok()) return done.status();
  if (auto s = attempt.Record(); !s.ok()) return s;
  if (auto s = Measure(options, options.manifest.run, trainer.Evaluate(*held_out), events); !s.ok()) return s;
  if (auto s = trainer.Export(StudentDir(options), tokenizer); !s.ok()) return s;
  trained = *std::move(done);
  return absl::OkStatus();
}

}  // namespace

bool ResumedAtMilestone(const student::Trainer& trainer, const student::TrainingManifest& manifest) {
  return !trainer.CheckpointDue() &&
         (trainer.step() % manifest.checkpoint_every == 0 || trainer.step() == manifest.steps);
}

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

  // From here on whatever happens is an attempt, and accounted for.
  auto log = UsageLog::Open(options.run_dir, UsageOf(options));
  if (!log.ok()) return log.status();
  const std::string manifest = options.manifest.ToJson();
  if (auto s = Settle(*log, manifest, key, client, options.log); !s.ok()) return s;
  const auto number = NextAttempt(options, *log, client);
  if (!number.ok()) return number.status();
  Attempt attempt(*number, options.instruments, options.prices, options.declared_watts, *log);
  if (auto s = attempt.Record(); !s.ok()) return s;

  Trained trained;
  const absl::Status status =
      RunAttempt(options, tokenizer, key, *std::move(dataset), client, attempt, events, trained);
  if (!status.ok() && !absl::IsCancelled(status) && options.world != nullptr) {
    options.world->Abort(std::string(status.message()));  // the others need not wait for the accounting
  }
  absl::Status accounted = attempt.End(status.ok()                 ? "finished"
                                       : absl::IsCancelled(status) ? "stopped"
                                                                   : "failed");
  // A ledger that has just been away for the whole patience is not waited for again.
  if (accounted.ok())
    accounted = absl::IsUnavailable(status) ? status : Settle(*log, manifest, key, client, options.log);
  if (!accounted.ok())
    options.log("what this attempt used is not in the ledger yet: " + std::string(accounted.message()));
  if (!status.ok()) return status;
  if (!accounted.ok()) return accounted;
  events.Finished(trained.checkpoint, trained.entry, StudentDir(options));
  return absl::OkStatus();
}

absl::Status SettleRun(const RunOptions& options, const ledger::SigningKey& key, LedgerClient& client) {
  auto log = UsageLog::Open(options.run_dir, UsageOf(options));
  if (!log.ok()) return log.status();
  return Settle(*log, options.manifest.ToJson(), key, client, options.log);
}

}  // namespace retort::train
