// The job that a person wrote, as the server takes it.
#ifndef SERVICES_CLI_JOB_FILE_H_
#define SERVICES_CLI_JOB_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "retort/jobs/v1/job_spec.pb.h"

namespace retort::services {

// Reads a YAML JobSpec and fills `prompts` from its prompts_file, a YAML PromptSet found relative to the
// job's folder; prompts_file is empty in the result. What the values must be is for the server to say; this
// only reads. InvalidArgument: a file is not such YAML (file, line and column), both `prompts` and
// `prompts_file` are given, or neither. NotFound, Unavailable: a file cannot be read (which one).
absl::StatusOr<retort::jobs::v1::JobSpec> LoadJobFile(const std::string& path);

// Gives the job's student another name, in spec.student and, where it stands there, in spec.purpose: a name
// is one student's for ever, so running a job file again needs a new one. InvalidArgument: the job trains no
// student.
absl::Status RenameStudent(const std::string& name, retort::jobs::v1::JobSpec* spec);

}  // namespace retort::services

#endif  // SERVICES_CLI_JOB_FILE_H_
