// What a job would be allowed and would use, found out before anything is sent or spent: the answer to
// validate_only.
#ifndef SERVICES_JOBS_JOB_PLAN_H_
#define SERVICES_JOBS_JOB_PLAN_H_

#include <chrono>

#include "absl/status/statusor.h"
#include "services/jobs/job_context.h"

namespace retort::jobs {

// Asks policy about the job and its prompts, and estimates from the spec and from earlier jobs of the
// project. Nothing is signed, appended or sent to the teacher. FailedPrecondition with POLICY_DENIED or
// POLICY_REVIEW as the job itself would end, with every rule that blocks as a PreconditionFailure; the errors
// of the peers. `left` gives the deadline of each call.
absl::StatusOr<v1::JobPlan> MakePlan(Workplace& place, StopSignal& stop, const v1::Job& job,
                                     const std::function<std::chrono::milliseconds()>& left);

// `amount` units of a price that is for `per` of them; InvalidArgument when the price is no decimal number,
// OutOfRange when the product is too large.
absl::StatusOr<v1::Money> Charge(const std::string& currency, const std::string& price, int64_t amount,
                                 int64_t per);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_JOB_PLAN_H_
