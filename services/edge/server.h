// The gRPC server that every role is served by: mutual TLS, message and connection limits, health,
// reflection, drain.
#ifndef SERVICES_EDGE_SERVER_H_
#define SERVICES_EDGE_SERVER_H_

#include <grpcpp/support/server_interceptor.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/edge/channel.h"
#include "services/identity/call_limits.h"

namespace grpc {
class Channel;
class Server;
class Service;
}  // namespace grpc

namespace retort::services {

class AccessGuard;

// Of one message, in either protocol that a server speaks.
inline constexpr int kReceiveBytesMax = 4 << 20;
inline constexpr int kSendBytesMax = 8 << 20;  // a sample with wide log-probabilities and its proof

struct EdgeServerOptions {
  std::string listen;  // host:port; port 0 picks a free one
  TlsPaths tls;        // client certificates are required and verified against tls.authorities
  bool reflection = false;
  // Decides about every call before its handler runs. Not owned, outlives the server; required.
  const AccessGuard* access = nullptr;
  // How much callers may take; see services/identity/call_limits.h.
  CallLimitsOptions limits;
  // How soon new certificates at the same paths are used.
  std::chrono::seconds certificate_refresh{20};
  // Sees every call, or null: services/telemetry/call_telemetry.h.
  std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> telemetry;
};

// A service to serve: the synchronous implementation of the proto service `name`, for example
// retort.jobs.v1.JobsService.
struct ServedService {
  grpc::Service* service = nullptr;
  std::string name;
};

// A running server. Thread-safe.
class EdgeServer {
 public:
  // Starts serving. `services` stay owned by the caller and must outlive the server. FailedPrecondition when
  // the port is taken or the address cannot be bound, a TLS file is unusable, or a method has no access rule;
  // the message names address, file or method. Health answers SERVING from the start for "" and every
  // service; see SetServing.
  static absl::StatusOr<std::unique_ptr<EdgeServer>> Start(EdgeServerOptions options,
                                                           const std::vector<ServedService>& services);
  ~EdgeServer();

  // The bound port.
  int port() const { return port_; }

  // A channel to this server that never leaves the process: the same guard, limits and telemetry, no TLS.
  // Calls on it name their caller by ForwardIdentity (services/identity/forwarded_identity.h); without it
  // they have none and are refused. It may outlive the server, whose calls then fail with Unavailable.
  std::shared_ptr<grpc::Channel> InProcessChannel() const;

  // Overall health, for readiness.
  void SetServing(bool serving);

  // Stops accepting, lets calls in flight finish until the deadline, then cancels them.
  void Drain(std::chrono::milliseconds grace);

 private:
  EdgeServer(std::unique_ptr<CallLimits> limits, std::vector<std::unique_ptr<grpc::Service>> guarded,
             std::unique_ptr<grpc::Server> server, int port);

  std::unique_ptr<CallLimits> limits_;
  std::vector<std::unique_ptr<grpc::Service>> guarded_;  // what the server calls
  std::unique_ptr<grpc::Server> server_;
  int port_;
};

// A free port of the loopback interface, for configurations that must name it before the server starts.
absl::StatusOr<int> FreeLoopbackPort();

}  // namespace retort::services

#endif  // SERVICES_EDGE_SERVER_H_
