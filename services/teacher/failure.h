// The reason (ErrorReason) behind an error of a teacher, one for one with its code (teacher/teacher.h).
#ifndef SERVICES_TEACHER_FAILURE_H_
#define SERVICES_TEACHER_FAILURE_H_

#include <string>

#include "absl/status/status.h"

namespace retort::services {

// `status` with its reason and the metadata `teacher`, and the teacher named in the message. Pure.
absl::Status NameFailure(const absl::Status& status, const std::string& teacher);

}  // namespace retort::services

#endif  // SERVICES_TEACHER_FAILURE_H_
