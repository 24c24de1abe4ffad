#include "services/jobs/peer_call.h"

namespace retort::jobs {

bool IsAway(const absl::Status& status) {
  if (absl::IsResourceExhausted(status)) {
    // gRPC itself uses this code, without a reason, for a message that is too large: no repeat mends that.
    return services::ReasonOf(status) == LIMIT_EXCEEDED;
  }
  if (services::ReasonOf(status) == ERROR_REASON_UNSPECIFIED) {
    // Our services name a reason with every error: one without comes from the connection, when a peer ends
    // under a call.
    if (absl::IsCancelled(status) || absl::IsUnknown(status)) return true;
    if (absl::IsInternal(status)) return status.message().find("RST_STREAM") != std::string_view::npos;
  }
  if (services::ReasonOf(status) == CANCELLED) return true;  // a peer that drains
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
