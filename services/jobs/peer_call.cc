#include "services/jobs/peer_call.h"

namespace retort::jobs {

bool IsAway(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) {
    // gRPC itself uses this code, without a reason, for a message that is too large: no repeat mends that.
    return services::ReasonOf(status) == LIMIT_EXCEEDED;
  }
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return false;
  switch (services::ReasonOf(status)) {
    // The teacher service is there and has said what its endpoint did.
    case TEACHER_RATE_LIMITED:
    case TEACHER_TIMEOUT:
    case TEACHER_UNAVAILABLE:
    case TEACHER_NOT_READY:
      return false;
    default:
      return true;
  }
}

}  // namespace retort::jobs
