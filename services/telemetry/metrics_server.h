// Serves metrics over HTTP: GET /metrics, plaintext, for a Prometheus on the same private network. Nothing
// else is there.
#ifndef SERVICES_TELEMETRY_METRICS_SERVER_H_
#define SERVICES_TELEMETRY_METRICS_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/telemetry/metrics.h"

namespace prometheus {
class Exposer;
}

namespace retort::services {

class MetricsServer {
 public:
  // Listens on host:port; port 0 picks a free one. Two scrapes at a time. FailedPrecondition when the address
  // cannot be bound; the message names it.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const std::string& listen,
                                                              const Metrics& metrics);
  ~MetricsServer();

  int port() const { return port_; }

 private:
  MetricsServer(std::unique_ptr<prometheus::Exposer> exposer,
                std::shared_ptr<prometheus::Collectable> metrics, int port);

  std::shared_ptr<prometheus::Collectable> metrics_;  // the exposer holds it only weakly
  std::unique_ptr<prometheus::Exposer> exposer_;
  const int port_;
};

}  // namespace retort::services

#endif  // SERVICES_TELEMETRY_METRICS_SERVER_H_
