// The third step of a job: the allowed samples become a frozen dataset.
#ifndef SERVICES_JOBS_DATASET_STEP_H_
#define SERVICES_JOBS_DATASET_STEP_H_

#include "absl/status/statusor.h"
#include "services/jobs/job_context.h"

namespace retort::jobs {

// kNext: the DATASET entry is in the ledger; the stage is TRAINING, or DONE for a job that only extracts.
// kParked: no sample may be trained on, but some await a review; the job is AWAITING_REVIEW.
// FailedPrecondition with DATASET_EMPTY: no sample may be trained on and none will be. Other errors are the
// ledger's.
absl::StatusOr<StepEnd> FreezeDataset(JobContext& job, const v1::JobRecord& record);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_DATASET_STEP_H_
