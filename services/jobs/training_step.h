// The fourth step of a job: each run is trained and measured by a retort-train of its own, restarted when it
// dies.
#ifndef SERVICES_JOBS_TRAINING_STEP_H_
#define SERVICES_JOBS_TRAINING_STEP_H_

#include "absl/status/statusor.h"
#include "services/jobs/job_context.h"

namespace retort::jobs {

// kNext: every run has finished and been measured, the stage is RELEASE (or the job is being cancelled, and
// the trainer is gone). kShutDown: the server stops, the trainer has stopped at a checkpoint or was killed.
// Internal with TRAINING_FAILED: the trainer could not be started, refused what it was given, or ended too
// often without a new checkpoint; the message has its last error. Must be called on a thread that outlives
// the call by itself: see launcher.h.
absl::StatusOr<StepEnd> Train(JobContext& job, const v1::JobRecord& record);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_TRAINING_STEP_H_
