// The second step of a job: every prompt is asked once, many at a time, and each answer is in the ledger
// before it counts.
//
// Before each call an intent (prompt index, attempt) is on disk. After a crash, prompts with intents are
// looked up in the ledger: one that is there is not asked again, one that is not is asked with the next
// attempt, so that the ledger shows that an earlier call may have been made.
#ifndef SERVICES_JOBS_EXTRACTION_H_
#define SERVICES_JOBS_EXTRACTION_H_

#include "absl/status/statusor.h"
#include "services/jobs/job_context.h"

namespace retort::jobs {

// kNext: every prompt is in the ledger or given up, the stage is DATASET (or the job is being cancelled, and
// nothing is in flight). kShutDown: the server stops. Errors end the job, and a resumed job asks what is
// missing: the teacher's endpoint refuses every call, too many prompts failed one after another, or an answer
// could not be recorded.
absl::StatusOr<StepEnd> Extract(JobContext& job, const v1::JobRecord& record);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_EXTRACTION_H_
