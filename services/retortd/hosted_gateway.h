// The HTTP gateway of this process, from its configuration.
#ifndef SERVICES_RETORTD_HOSTED_GATEWAY_H_
#define SERVICES_RETORTD_HOSTED_GATEWAY_H_

#include <memory>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "retort/server/v1/server_config.pb.h"
#include "services/gateway/gateway.h"

namespace retort::services {

class AccessGuard;
class EdgeServer;

// Serves the services of `roles`, which `server` has, on config.gateway_listen; null when that is empty. With
// `dev`, plain HTTP as the dev client. Neither `access` nor `server` is owned; both outlive the gateway. The
// errors of Gateway::Start, and in `dev` of DevClientIdentity.
absl::StatusOr<std::unique_ptr<gateway::Gateway>> StartGateway(const server::v1::ServerConfig& config,
                                                               const std::set<std::string>& roles, bool dev,
                                                               const AccessGuard* access,
                                                               const EdgeServer& server);

// host:port of it, with the port that was picked. "" without a gateway.
std::string GatewayAddress(const server::v1::ServerConfig& config, const gateway::Gateway* gateway);

}  // namespace retort::services

#endif  // SERVICES_RETORTD_HOSTED_GATEWAY_H_
