// The roles of one process: opens the libraries behind each, wires the jobs role to its peers, starts and
// stops them.
#ifndef SERVICES_RETORTD_HOSTED_ROLES_H_
#define SERVICES_RETORTD_HOSTED_ROLES_H_

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/server/v1/server_config.pb.h"

namespace retort::services {

class AccessGuard;
class Metrics;
struct ServedService;

class HostedRoles {
 public:
  // Full names of the services that these roles serve, before any is opened.
  static std::vector<std::string> ServiceNames(const std::set<std::string>& roles);

  // Opens what the roles need: keys, packs, logs, the database of jobs. Nothing is served yet and no job
  // runs. `config` has passed ValidateServerConfig. The status of whatever could not be opened, its message
  // led by the role. `metrics`, which may be null and outlives this object, gets what no call shows.
  static absl::StatusOr<std::unique_ptr<HostedRoles>> Open(const server::v1::ServerConfig& config,
                                                           const std::set<std::string>& roles,
                                                           Metrics* metrics = nullptr);
  ~HostedRoles();

  // The services to serve, and who may call them; owned by this object, which outlives the server.
  std::vector<ServedService> services() const;
  const AccessGuard* access() const;

  // Each served service with OK, or with Unavailable and why its calls would fail now: its disk or its log
  // takes no writes. Asks no peer and takes no time.
  std::vector<std::pair<std::string, absl::Status>> Standing() const;

  // Sets the figures of a scrape.
  void Measure(Metrics& metrics) const;

  // Called once the server answers: goes on with the jobs that have not ended. The status of
  // jobs::JobsService::Start.
  absl::Status Start();

  // Ends work within about `grace`; nothing acknowledged is lost.
  void Stop(std::chrono::milliseconds grace);

 private:
  struct Impl;
  explicit HostedRoles(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::services

#endif  // SERVICES_RETORTD_HOSTED_ROLES_H_
