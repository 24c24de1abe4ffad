// How long a call may still take, and whether anybody waits for its answer.
//
//   const CallBudget budget(context);
//   for (...) {
//     if (auto s = budget.Check(); !s.ok()) return ToGrpcStatus(s);
//     ... CallOnce(..., budget.Downstream());
//   }
//
// A client that sets no deadline gets kUnaryCap, so that no handler runs for ever. Calls to other services
// get what is left less a margin, so that their error still reaches the client as its own. Safe on any thread
// while the call runs.
#ifndef SERVICES_EDGE_CALL_BUDGET_H_
#define SERVICES_EDGE_CALL_BUDGET_H_

#include <chrono>

#include "absl/status/status.h"

namespace grpc {
class ServerContext;
}

namespace retort::services {

inline constexpr std::chrono::milliseconds kUnaryCap = std::chrono::seconds(30);
inline constexpr std::chrono::milliseconds kDownstreamMargin{100};

class CallBudget {
 public:
  // `context` outlives the budget. `cap` holds for calls without a deadline.
  explicit CallBudget(grpc::ServerContext& context, std::chrono::milliseconds cap = kUnaryCap);

  // OK while somebody waits. DeadlineExceeded (DEADLINE_EXCEEDED) once the time is up, Cancelled (CANCELLED)
  // once the client has gone.
  absl::Status Check() const;

  // What is left, not negative.
  std::chrono::milliseconds Left() const;

  // The deadline for a call to another service: what is left less the margin, at least a millisecond, at most
  // `longest`.
  std::chrono::milliseconds Downstream(std::chrono::milliseconds longest = kUnaryCap) const;

 private:
  grpc::ServerContext& context_;
  std::chrono::system_clock::time_point end_;
};

}  // namespace retort::services

#endif  // SERVICES_EDGE_CALL_BUDGET_H_
