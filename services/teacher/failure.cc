#include "services/teacher/failure.h"

#include "services/edge/status.h"

namespace retort::services {
namespace {

ErrorReason ReasonOfTeacherCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnauthenticated:
      return TEACHER_UNAUTHORISED;
    case absl::StatusCode::kResourceExhausted:
      return TEACHER_RATE_LIMITED;
    case absl::StatusCode::kDeadlineExceeded:
      return TEACHER_TIMEOUT;
    case absl::StatusCode::kUnavailable:
      return TEACHER_UNAVAILABLE;
    case absl::StatusCode::kInvalidArgument:
      return TEACHER_REJECTED;
    case absl::StatusCode::kUnknown:
      return TEACHER_BROKEN_ANSWER;
    case absl::StatusCode::kFailedPrecondition:
      return TEACHER_NOT_READY;
    case absl::StatusCode::kCancelled:
      return CANCELLED;
    default:
      return INTERNAL;
  }
}

}  // namespace

absl::Status NameFailure(const absl::Status& status, const std::string& teacher) {
  if (status.ok()) return status;
  return WithReason(absl::Status(status.code(), "teacher " + teacher + ": " + std::string(status.message())),
                    ReasonOfTeacherCode(status.code()), {{"teacher", teacher}});
}

}  // namespace retort::services
