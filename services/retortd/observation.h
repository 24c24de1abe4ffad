// What operators see of this process besides its calls: health, metrics, and a line of the log when it
// becomes ready or stops being so.
//
//   auto observation = Observation::Start(config, roles, version);   // answers probes with NOT_SERVING from
//   now on
//   ... open the roles, serve them, then:
//   (*observation)->Follow(hosted, server);
//   const absl::Cleanup forget = [&] { (*observation)->Forget(); };   // before either is destroyed
#ifndef SERVICES_RETORTD_OBSERVATION_H_
#define SERVICES_RETORTD_OBSERVATION_H_

#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "retort/server/v1/server_config.pb.h"
#include "services/edge/health_server.h"
#include "services/identity/periodic.h"
#include "services/telemetry/metrics.h"
#include "services/telemetry/metrics_server.h"

namespace retort::services {

class EdgeServer;
class HostedRoles;

// Thread-safe.
class Observation {
 public:
  // Opens the ports that the configuration names, before anything else of the process is ready. The errors of
  // HealthServer::Start and MetricsServer::Start.
  static absl::StatusOr<std::unique_ptr<Observation>> Start(const server::v1::ServerConfig& config,
                                                            const std::set<std::string>& roles,
                                                            const std::string& version);
  ~Observation();

  // Null when the configuration names no port for metrics.
  Metrics* metrics() { return metrics_.get(); }

  // From now on readiness is what HostedRoles::Standing says, asked every second, and a scrape asks the
  // roles. Neither is owned; Forget comes before the end of either.
  void Follow(HostedRoles* hosted, EdgeServer* server);
  // Not ready from now on; scrapes go on.
  void BeginDrain();
  void Forget();

 private:
  Observation() = default;
  void Look();
  void Measure();

  std::mutex mutex_;
  HostedRoles* hosted_ = nullptr;  // guarded by mutex_, as what follows
  EdgeServer* server_ = nullptr;
  bool draining_ = false;
  std::optional<bool> said_ready_;  // what the log says

  std::string certificate_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<MetricsServer> metrics_server_;
  std::unique_ptr<HealthServer> health_;
  std::unique_ptr<Periodic> looking_;  // last: its thread uses the others
};

}  // namespace retort::services

#endif  // SERVICES_RETORTD_OBSERVATION_H_
