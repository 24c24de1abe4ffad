// The HTTP gateway: the Connect protocol over HTTP/1.1 (connectrpc.com/docs/protocol), so that curl, browsers
// and Connect clients reach the gRPC services of this process.
//
//   auto gateway = Gateway::Start({.listen = "0.0.0.0:7445", .tls = tls, .services = names, .access = guard,
//                                  .channel = server->InProcessChannel()});
//   ...
//   (*gateway)->BeginDrain();
//   server->Drain(std::chrono::seconds(10));            // ends the gateway's calls with all others
//   (*gateway)->Drain(std::chrono::seconds(1));         // which then only has to write what they came to
//
// It calls the services as their gRPC clients do, over a channel that stays in the process, so the same
// guard, limits, audit and telemetry see every call. Who calls is whom the client's certificate names. Unary
// calls by POST and, where a method has no side effects, by GET; streams of responses; no streams of
// requests.
#ifndef SERVICES_GATEWAY_GATEWAY_H_
#define SERVICES_GATEWAY_GATEWAY_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/edge/tls_paths.h"

namespace grpc {
class Channel;
}

namespace retort::services {
class AccessGuard;
}

namespace retort::services::gateway {

// What one peer, and all together, can make the gateway hold or wait for. Tests make them small.
struct GatewayLimits {
  size_t head_bytes_max = 16 << 10;    // request line and headers: as much as gRPC takes as metadata
  size_t message_bytes_max = 4 << 20;  // of a request, compressed or not: as gRPC, kReceiveBytesMax
  size_t held_bytes_max = 256 << 20;   // of requests and responses, of all connections
  int connections_max = 512;
  int connections_per_peer_max = 128;  // from one address
  int calls_max = 256;                 // at once; each may hold a thread of the gRPC server
  std::chrono::milliseconds handshake = std::chrono::seconds(10);
  std::chrono::milliseconds idle = std::chrono::seconds(60);   // between two requests
  std::chrono::milliseconds head = std::chrono::seconds(10);   // from the first byte of a head to its end
  std::chrono::milliseconds body = std::chrono::seconds(30);   // from the head to the end of the body
  std::chrono::milliseconds write = std::chrono::seconds(30);  // of one response, or one message of a stream
  std::chrono::milliseconds linger = std::chrono::seconds(2);  // for what a refused client still sends
  std::chrono::milliseconds unary_call =
      std::chrono::seconds(30);  // of clients that set no timeout: as gRPC, kUnaryCap
  std::chrono::milliseconds call_max = std::chrono::hours(24);  // of any call
};

struct GatewayOptions {
  std::string listen;  // host:port; port 0 picks a free one
  // Client certificates are required and verified against tls->authorities. Without it: plain HTTP on
  // 127.0.0.1 only, for connections of the user that this process runs as, with `own_identity` as the caller.
  std::optional<TlsPaths> tls;
  std::chrono::seconds certificate_refresh{20};
  std::string own_identity;
  std::vector<std::string> origins;   // of pages that may call (IsOrigin in browser_rules.h); none by default
  std::vector<std::string> services;  // full names; all of their methods are served
  const AccessGuard* access = nullptr;     // not owned, outlives the gateway; required
  std::shared_ptr<grpc::Channel> channel;  // to the services; shared with calls that are still ending
  GatewayLimits limits;
  std::function<void(const std::string&)> say;  // gets lines for the log; none holds what a client sent
};

// Thread-safe.
class Gateway {
 public:
  // Starts serving. InvalidArgument: an origin that is none, an own identity that is no SPIFFE id, plain HTTP
  // elsewhere than on 127.0.0.1. NotFound: a service that is not linked, or a TLS file that is not there.
  // FailedPrecondition: the address cannot be bound, a TLS file cannot be used, or there is no guard or
  // channel.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(GatewayOptions options);
  // Drains without patience.
  ~Gateway();

  int port() const;

  // Takes no more connections, closes those that are idle, and the others after the response that they wait
  // for.
  void BeginDrain();

  // That, and waits until all are closed, at most `grace`; then cancels what still runs.
  void Drain(std::chrono::milliseconds grace);

 private:
  struct Impl;
  explicit Gateway(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_GATEWAY_H_
