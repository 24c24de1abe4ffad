#include "services/edge/call_budget.h"

#include <grpcpp/server_context.h>

#include <algorithm>

#include "services/edge/status.h"

namespace retort::services {

using std::chrono::milliseconds;
using std::chrono::system_clock;

CallBudget::CallBudget(grpc::ServerContext& context, milliseconds cap)
    : context_(context), end_(context.deadline()) {
  if (end_ == system_clock::time_point::max()) end_ = system_clock::now() + cap;
}

absl::Status CallBudget::Check() const {
  // gRPC marks a call cancelled when its deadline passes; the caller is told which of the two it was.
  if (system_clock::now() >= end_)
    return WithReason(absl::DeadlineExceededError("no answer before the deadline of the call"),
                      DEADLINE_EXCEEDED);
  if (context_.IsCancelled()) return WithReason(absl::CancelledError("the caller has gone"), CANCELLED);
  return absl::OkStatus();
}

milliseconds CallBudget::Left() const {
  return std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(end_ - system_clock::now()));
}

milliseconds CallBudget::Downstream(milliseconds longest) const {
  return std::clamp(Left() - kDownstreamMargin, milliseconds(1), longest);
}

}  // namespace retort::services
