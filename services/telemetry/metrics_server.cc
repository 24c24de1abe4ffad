#include "services/telemetry/metrics_server.h"

#include <prometheus/exposer.h>

#include <exception>
#include <utility>
#include <vector>

namespace retort::services {

MetricsServer::MetricsServer(std::unique_ptr<prometheus::Exposer> exposer,
                             std::shared_ptr<prometheus::Collectable> metrics, int port)
    : metrics_(std::move(metrics)), exposer_(std::move(exposer)), port_(port) {}

MetricsServer::~MetricsServer() = default;

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const std::string& listen,
                                                                    const Metrics& metrics) {
  // No document root, so no file is ever served; a client that dawdles loses its thread after five seconds.
  const std::vector<std::string> options{"listening_ports",          listen, "num_threads",       "2",
                                         "request_timeout_ms",       "5000", "enable_keep_alive", "no",
                                         "enable_directory_listing", "no"};
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(options);
    auto collectable = metrics.collectable();
    exposer->RegisterCollectable(collectable, "/metrics");
    const std::vector<int> ports = exposer->GetListeningPorts();
    if (ports.size() == 1) {
      return std::unique_ptr<MetricsServer>(
          new MetricsServer(std::move(exposer), std::move(collectable), ports.front()));
    }
  } catch (const std::exception&) {
    // CivetWeb gives no reason.
  }
  return absl::FailedPreconditionError("metrics_listen: cannot listen on " + listen +
                                       ": the port is taken, or the address is not of this machine");
}

}  // namespace retort::services
