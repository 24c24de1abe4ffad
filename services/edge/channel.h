// Client side of the mutual-TLS connections between programs.
#ifndef SERVICES_EDGE_CHANNEL_H_
#define SERVICES_EDGE_CHANNEL_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace retort::services {

// PEM files of one side of a mutual-TLS connection.
struct TlsPaths {
  std::string certificate;
  std::string private_key;
  std::string authorities;
};

// A channel to host:port. Connecting happens in the background: an unreachable server shows as Unavailable on
// calls. Calls on methods that are reads or carry a request id may be retried by the caller on Unavailable
// only. NotFound or FailedPrecondition when a TLS file cannot be read (which one, and why).
absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectTo(const std::string& address, const TlsPaths& tls);

// Every call has a deadline; this sets it.
void SetDeadline(grpc::ClientContext& context, std::chrono::milliseconds from_now);

// Reads a whole file of at most `bytes_max`; used for PEM files and keys.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max = 1 << 20);

}  // namespace retort::services

#endif  // SERVICES_EDGE_CHANNEL_H_
