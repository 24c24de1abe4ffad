// Answers health probes on a port of its own, without TLS: a kubelet has no client certificate. Nothing else
// is served there (grpc.health.v1, doc/health-checking.md of gRPC).
//
//   auto health = HealthServer::Start("0.0.0.0:7444", {"retort.jobs.v1.JobsService"});
//   (*health)->Set("", true);          // ready
#ifndef SERVICES_EDGE_HEALTH_SERVER_H_
#define SERVICES_EDGE_HEALTH_SERVER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::services {

// The name that probes of liveness ask about. It is SERVING for as long as the process answers, whatever its
// peers, its disk and its drain do: a restart mends none of them. Readiness is "".
inline constexpr std::string_view kLiveness = "liveness";

// Thread-safe.
class HealthServer {
 public:
  // Listens on host:port; port 0 picks a free one. "" and each of `services` begin as NOT_SERVING. Others are
  // NOT_FOUND to Check and SERVICE_UNKNOWN to Watch. FailedPrecondition when the address cannot be bound; the
  // message names it.
  static absl::StatusOr<std::unique_ptr<HealthServer>> Start(const std::string& listen,
                                                             const std::vector<std::string>& services);
  // Ends watches with UNAVAILABLE.
  ~HealthServer();

  int port() const;

  // Sets "" or one of the services, and tells whoever watches it. Names that Start was not given are ignored.
  void Set(const std::string& service, bool serving);

  // Watches at the same time; further ones are refused with RESOURCE_EXHAUSTED.
  static constexpr size_t kWatchesMax = 64;

 private:
  struct Impl;
  explicit HealthServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::services

#endif  // SERVICES_EDGE_HEALTH_SERVER_H_
