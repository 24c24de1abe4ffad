// Checks of requests to the teacher service. Pure; each refusal is InvalidArgument with reason INVALID_FIELD
// and names the field, the value seen and the value wanted, never a prompt.
#ifndef SERVICES_TEACHER_VALIDATE_H_
#define SERVICES_TEACHER_VALIDATE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retort/teacher/v1/teacher.pb.h"
#include "teacher/teacher.h"

namespace retort::services {

// A request that names what it should, taken apart.
struct ExtractCall {
  std::string project;     // projects/{project}
  std::string teacher_id;  // the last part of the teacher's name
  std::string request_id;  // UUID of the sample, derived from the key (ledger/uuid.h)
  teacher::CompletionRequest question;
};

// Names, key (job of the same project, attempt 1 to 1,000,000, split train or held_out), messages and
// sampling.
absl::StatusOr<ExtractCall> Validate(const teacher::v1::ExtractRequest& request);

// The teacher's id.
absl::StatusOr<std::string> Validate(const teacher::v1::GetTeacherRequest& request);

absl::Status Validate(const teacher::v1::ListTeachersRequest& request);

}  // namespace retort::services

#endif  // SERVICES_TEACHER_VALIDATE_H_
