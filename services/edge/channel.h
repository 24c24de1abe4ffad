// Client side of the mutual-TLS connections between programs.
#ifndef SERVICES_EDGE_CHANNEL_H_
#define SERVICES_EDGE_CHANNEL_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/edge/small_file.h"
#include "services/edge/tls_paths.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace retort::services {

// A channel to host:port. Connecting happens in the background: an unreachable server shows as Unavailable on
// calls. Calls on methods that are reads or carry a request id may be retried by the caller on Unavailable
// only. New certificates at the same paths are used for new connections
// (services/identity/tls_credentials.h). NotFound, InvalidArgument or FailedPrecondition when a TLS file
// cannot be used (which one, and why).
absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectTo(const std::string& address, const TlsPaths& tls);

// Every call has a deadline; this sets it.
void SetDeadline(grpc::ClientContext& context, std::chrono::milliseconds from_now);

}  // namespace retort::services

#endif  // SERVICES_EDGE_CHANNEL_H_
