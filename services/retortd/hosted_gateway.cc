#include "services/retortd/hosted_gateway.h"

#include <grpcpp/channel.h>

#include <utility>

#include "services/edge/server.h"
#include "services/retortd/dev_config.h"
#include "services/retortd/hosted_roles.h"
#include "services/telemetry/log.h"

namespace retort::services {

absl::StatusOr<std::unique_ptr<gateway::Gateway>> StartGateway(const server::v1::ServerConfig& config,
                                                               const std::set<std::string>& roles, bool dev,
                                                               const AccessGuard* access,
                                                               const EdgeServer& server) {
  if (config.gateway_listen().empty()) return nullptr;
  gateway::GatewayOptions options;
  options.listen = config.gateway_listen();
  if (dev) {
    auto identity = DevClientIdentity(config.data_dir());
    if (!identity.ok()) return identity.status();
    options.own_identity = *std::move(identity);
  } else {
    options.tls =
        TlsPaths{config.tls().certificate(), config.tls().private_key(), config.tls().authorities()};
  }
  options.origins = {config.gateway_origins().begin(), config.gateway_origins().end()};
  options.services = HostedRoles::ServiceNames(roles);
  options.access = access;
  options.channel = server.InProcessChannel();
  options.limits.message_bytes_max = kReceiveBytesMax;
  options.say = [](const std::string& line) { Log(LogLevel::kWarning, line); };
  auto started = gateway::Gateway::Start(std::move(options));
  if (!started.ok()) return started.status();
  Log(LogLevel::kInfo,
      std::string("gateway on ") + (dev ? "http://" : "https://") + GatewayAddress(config, started->get()));
  return started;
}

std::string GatewayAddress(const server::v1::ServerConfig& config, const gateway::Gateway* gateway) {
  if (gateway == nullptr) return "";
  return config.gateway_listen().substr(0, config.gateway_listen().rfind(':')) + ":" +
         std::to_string(gateway->port());
}

}  // namespace retort::services
