// How retort-train is started for one run of a job, and what its run folder looks like.
//
//   runs/<job uid>/<run>/manifest.json   the training manifest, written once
//                        checkpoints …   the trainer's own
//                        student/        the exported student
//                        usage/          what attempts have used, until it is in the ledger
//                        train.log       its standard error
#ifndef SERVICES_JOBS_TRAINING_H_
#define SERVICES_JOBS_TRAINING_H_

#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/jobs/v1/job_record.pb.h"
#include "services/edge/channel.h"
#include "student/training/manifest.h"

namespace retort::jobs {

// What the operator declares about the cost of training; decimal numbers as text, empty when not declared.
struct TrainingCosts {
  std::string currency, price_device_hour, price_kwh, declared_watts;
};

// What every run of retort-train is given.
struct TrainerProgram {
  std::string program;         // path of retort-train
  std::string key_file;        // signing key of the trainer role (ledger/signing.h)
  std::string ledger_address;  // host:port
  std::string jobs_address;    // host:port of this service, where the ranks of a run meet
  services::TlsPaths tls;      // the client's side towards the ledger
  std::string tokenizer_gguf;  // file whose tokenizer students have; empty means the embedded teacher's
  // Tokenizer of students whose teacher does not report token ids: the embedded one.
  std::string tokenizer_sha256;  // lower-case hex
  int64_t vocabulary_size = 0;
  TrainingCosts costs;
  std::filesystem::path metrics_dir;  // of a node exporter's textfile collector; empty: none
  std::string device;                 // --device; empty: the trainer's own choice
  int grace_seconds = 0;              // --grace-seconds; 0: the trainer's own
};

// The runs of a job in the order in which they are trained: logits and then text_only when the baseline is
// asked for; text_only alone when the samples carry no log-probabilities under a known tokenizer. The first
// is the one released.
std::vector<std::string> RunsOf(const v1::JobRecord& record);

// The manifest of a run. InvalidArgument as TrainingManifest::Validate.
absl::StatusOr<student::TrainingManifest> ManifestOf(const v1::JobRecord& record, const std::string& run,
                                                     const TrainerProgram& program);

// Makes the run folder and writes the manifest into it, atomically and synced. FailedPrecondition when
// another manifest is there already; Unavailable when the disk refuses. Returns the manifest's path.
absl::StatusOr<std::filesystem::path> PrepareRunFolder(const std::filesystem::path& folder,
                                                       const student::TrainingManifest& manifest);

// Processes of each run: data_ranks * expert_ranks of the spec, at least 1.
int RanksOf(const v1::JobRecord& record);

// The arguments of retort-train (services/train/README.md), the same for every rank. `log_vkey` is the key of
// the project's log.
std::vector<std::string> TrainerArguments(const v1::JobRecord& record, const std::string& run,
                                          const std::filesystem::path& folder, const std::string& log_vkey,
                                          const TrainerProgram& program);

// The arguments that only bring what earlier attempts at the run used into the ledger.
std::vector<std::string> SettleArguments(const v1::JobRecord& record, const std::string& run,
                                         const std::filesystem::path& folder, const TrainerProgram& program);

// Where a run keeps its metrics while it trains; empty without a metrics_dir.
std::filesystem::path MetricsPath(const v1::JobRecord& record, const std::string& run,
                                  const TrainerProgram& program);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_TRAINING_H_
