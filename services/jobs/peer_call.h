// Calls to other services: one with a deadline, and one that waits until the service is there.
#ifndef SERVICES_JOBS_PEER_CALL_H_
#define SERVICES_JOBS_PEER_CALL_H_

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <string_view>

#include "absl/status/statusor.h"
#include "services/edge/channel.h"
#include "services/edge/status.h"
#include "services/jobs/stop_signal.h"

namespace retort::jobs {

// Most calls answer from memory or after one fsync.
inline constexpr std::chrono::milliseconds kCallDeadline = std::chrono::seconds(30);
// The teacher may retry a slow endpoint several times, and generates up to 8192 tokens.
inline constexpr std::chrono::milliseconds kExtractDeadline = std::chrono::minutes(15);
// Freezing a dataset reads every sample of the job.
inline constexpr std::chrono::milliseconds kDatasetDeadline = std::chrono::minutes(10);

// Pauses between tries: doubled each time up to the longest.
struct Pauses {
  std::chrono::milliseconds first = std::chrono::milliseconds(200);
  std::chrono::milliseconds longest = std::chrono::seconds(10);

  // The pause before try `number`, from 1.
  std::chrono::milliseconds Before(int number) const {
    return std::min(longest, first * (int64_t{1} << std::min(number - 1, 20)));
  }
};

// One unary call: `method` is a member of the stub's interface, for example
// &LedgerService::StubInterface::GetEntry. Errors are the server's, with their reason; Cancelled when the
// signal was aborted.
template <class Stub, class Request, class Response>
absl::StatusOr<Response> CallOnce(StopSignal& stop, Stub& stub,
                                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                               Response*),
                                  const Request& request,
                                  std::chrono::milliseconds deadline = kCallDeadline) {
  grpc::ClientContext context;
  services::SetDeadline(context, deadline);
  const StopSignal::Call call(stop, context);
  Response response;
  const grpc::Status status = (stub.*method)(&context, request, &response);
  if (stop.aborted()) return absl::CancelledError("the server is stopping");
  if (!status.ok()) return services::FromGrpcStatus(status);
  return response;
}

// True when the service could not be reached, went away, or asks for another try: the status says nothing
// about the request. What a teacher service says of its endpoint is not that.
bool IsAway(const absl::Status& status);

// Repeats `call` while its service is away, with pauses, for ever: a job outlives any outage. Before each
// pause it tells `waiting` the status; after one, when the call is through, OK. Only for calls that may be
// repeated. Cancelled when the signal reaches `until` while it waits.
template <class Response>
absl::StatusOr<Response> CallUntilAnswered(StopSignal& stop, StopSignal::Kind until, const Pauses& pauses,
                                           const std::function<void(const absl::Status&)>& waiting,
                                           const std::function<absl::StatusOr<Response>()>& call) {
  for (int tries = 1;; ++tries) {
    absl::StatusOr<Response> response = call();
    if (response.ok() || !IsAway(response.status())) {
      if (tries > 1) waiting(absl::OkStatus());
      return response;
    }
    waiting(response.status());
    if (stop.SleepUnless(until, pauses.Before(tries))) return absl::CancelledError("stopped while waiting");
  }
}

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_PEER_CALL_H_
