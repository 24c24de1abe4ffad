// Checks what an operator writes about where training runs are started.
#ifndef SERVICES_EDGE_LAUNCHER_CONFIG_H_
#define SERVICES_EDGE_LAUNCHER_CONFIG_H_

#include "absl/status/status.h"
#include "retort/server/v1/server_config.pb.h"

namespace retort::services {

// `config` may have a training_launcher, and hosts the role jobs. InvalidArgument names the field, what was
// seen and what is wanted. A field that has no use together with the launcher is refused.
absl::Status CheckTrainingLauncher(const server::v1::ServerConfig& config, bool hosts_ledger);

}  // namespace retort::services

#endif  // SERVICES_EDGE_LAUNCHER_CONFIG_H_
