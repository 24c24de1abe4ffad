// The last step of a job: the student's files with model card, notices and licences, checked against the
// duties that the terms impose, signed, and named in the ledger.
#ifndef SERVICES_JOBS_RELEASE_H_
#define SERVICES_JOBS_RELEASE_H_

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "services/jobs/job_context.h"

namespace retort::jobs {

// kNext: the student is in students/, the RELEASE entry in the ledger, the stage DONE. FailedPrecondition
// with POLICY_DENIED: a duty is unmet; the message names it and what would meet it. Unavailable: the disk
// refuses. A release that was interrupted is made again with the same bytes.
absl::StatusOr<StepEnd> Release(JobContext& job, const v1::JobRecord& record);

// The folder of projects/{project}/students/{student} under students_dir.
std::filesystem::path StudentFolder(const std::filesystem::path& students_dir, const std::string& student);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_RELEASE_H_
