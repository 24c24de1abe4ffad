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

// Brings into the ledger what attempts used whose records still lie in the run folders of a job that will
// train no more, and says on the job when that did not succeed. Takes as long as retort-train --settle-usage,
// at most some ten minutes for each run while the ledger is away; a server that stops ends it sooner. Thread
// as for Train.
void SettleUsage(JobContext& job, const v1::JobRecord& record);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_TRAINING_STEP_H_
