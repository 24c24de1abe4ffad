// One run from dataset to student: reads, trains, attests, measures, exports. main.cc gives it flags; nothing
// else is here but the order of things.
#ifndef SERVICES_TRAIN_RUN_H_
#define SERVICES_TRAIN_RUN_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "ledger/signing.h"
#include "services/train/account.h"
#include "services/train/events.h"
#include "services/train/ledger_client.h"
#include "services/train/report.h"
#include "student/tokenizer/tokenizer.h"
#include "student/training/manifest.h"
#include "student/training/trainer.h"

namespace retort::train {

struct RunOptions {
  student::TrainingManifest manifest;
  std::string run_dir;
  std::string project, job, job_uid;  // projects/P, projects/P/jobs/J, the job's uid
  std::string log_vkey;
  uint64_t dataset_entry = 0;
  int threads = 0;
  student::World* world = nullptr;      // the ranks of the run (ranks.h), this one being rank 0; null: alone
  student::Backend* backend = nullptr;  // where to train (device.h); null: this processor
  Instruments instruments = PlainInstruments();
  Prices prices;
  std::string
      declared_watts;  // of one device, canonical decimal; given when instruments.energy is the declared one
  double report_every_seconds = 10;
  std::string metrics_file;    // empty: none (metrics_file.h)
  std::function<bool()> stop;  // asked between steps; true on any rank: checkpoint and return Cancelled
  std::function<void(std::string_view)> log;  // lines for people
};

// Request id of a milestone: UuidFromDigest(SHA-256("retort/training/v1\n" job_uid "\n" run "\n" phase "\n"
// step)).
std::string MilestoneRequestId(std::string_view job_uid, std::string_view run, std::string_view phase,
                               int64_t step);

// Whether the state that a trainer resumed at is a milestone that is already saved: it may not be in the
// ledger yet.
bool ResumedAtMilestone(const student::Trainer& trainer, const student::TrainingManifest& manifest);

// Runs to the end. Milestones are in the ledger before the run goes past them: `start` before the first step,
// each checkpoint after it is on disk, `finish` before the student is measured and written to
// run_dir/student. OK: finished, and said so by the event. Cancelled: `stop` was true; what is on disk
// resumes exactly. FailedPrecondition: the tokenizer is not the manifest's. Other errors are those of
// LedgerClient, Trainer and WriteStudent.
//
// What the attempt used is on disk from its beginning on and in the ledger at its end, whatever the end is;
// when the ledger does not take it, the next attempt, or SettleRun, brings it there (usage_log.h).
absl::Status Run(const RunOptions& options, const student::Tokenizer& tokenizer,
                 const ledger::SigningKey& key, LedgerClient& client, Events& events);

// Brings what earlier attempts of the run used into the ledger, and does nothing else. FailedPrecondition
// while a trainer works in the folder; other errors are those of UsageLog and LedgerClient.
absl::Status SettleRun(const RunOptions& options, const ledger::SigningKey& key, LedgerClient& client);

}  // namespace retort::train

#endif  // SERVICES_TRAIN_RUN_H_
