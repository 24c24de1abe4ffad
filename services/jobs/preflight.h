// The first step of a job: policy decides before anything is asked of the teacher, and what it decided is in
// the ledger before the job goes on or ends.
#ifndef SERVICES_JOBS_PREFLIGHT_H_
#define SERVICES_JOBS_PREFLIGHT_H_

#include "absl/status/statusor.h"
#include "services/jobs/job_context.h"

namespace retort::jobs {

// Allowed: kNext with the stage at EXTRACTION and entries.preflight set. Denied or in review:
// FailedPrecondition with POLICY_DENIED or POLICY_REVIEW naming rules, clauses and missing facts; progress
// says how many prompts were never sent. NotFound: the spec's teacher is not configured. Other errors are the
// peers'.
absl::StatusOr<StepEnd> Preflight(JobContext& job, const v1::JobRecord& record);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_PREFLIGHT_H_
