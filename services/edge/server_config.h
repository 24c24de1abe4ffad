// Reads and checks what an operator writes to run retortd.
#ifndef SERVICES_EDGE_SERVER_CONFIG_H_
#define SERVICES_EDGE_SERVER_CONFIG_H_

#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "retort/server/v1/server_config.pb.h"
#include "services/identity/call_limits.h"

namespace retort::services {

// Roles that a process can host.
inline constexpr std::string_view kRoles[] = {"jobs", "teacher", "policy", "ledger"};

// Parses "jobs,ledger"; InvalidArgument names the unknown or repeated role.
absl::StatusOr<std::set<std::string>> ParseRoles(std::string_view list);

// Loads `path` strictly, a file or a folder of *.yaml files, and checks that everything the roles need is
// there; InvalidArgument names file, line or field, what was seen and what is wanted. The files of a folder
// are read in the order of their names: a later one replaces single values of an earlier one and adds to its
// lists. A field that no hosted role uses is refused too, so that no setting is ignored.
absl::StatusOr<server::v1::ServerConfig> LoadServerConfig(const std::string& path,
                                                          const std::set<std::string>& roles);

// What a server is started with; what is 0 gets its default.
CallLimitsOptions CallLimitsOf(const server::v1::CallLimits& limits);

// The checks alone.
absl::Status ValidateServerConfig(const server::v1::ServerConfig& config, const std::set<std::string>& roles);

}  // namespace retort::services

#endif  // SERVICES_EDGE_SERVER_CONFIG_H_
