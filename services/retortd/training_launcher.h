// From the configuration to what starts training runs.
#ifndef SERVICES_RETORTD_TRAINING_LAUNCHER_H_
#define SERVICES_RETORTD_TRAINING_LAUNCHER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "retort/server/v1/training_launcher.pb.h"
#include "services/jobs/trainer_launcher.h"
#include "services/jobs/training.h"

namespace retort::services {

struct LaunchedTraining {
  std::unique_ptr<jobs::TrainerLauncher> launcher;
  jobs::TrainerProgram program;  // as the launcher's processes see it
};

// `config` has passed CheckTrainingLauncher; `trainer` is retort-train as a child of this process.
// FailedPrecondition: no `api` is configured and this process is no pod, or it is root and no run_as_user is
// set.
absl::StatusOr<LaunchedTraining> MakeTraining(const server::v1::TrainingLauncher& config,
                                              const jobs::TrainerProgram& trainer);

}  // namespace retort::services

#endif  // SERVICES_RETORTD_TRAINING_LAUNCHER_H_
