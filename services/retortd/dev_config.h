// What `retortd --dev` runs with: everything on loopback, with keys and certificates that it makes itself.
#ifndef SERVICES_RETORTD_DEV_CONFIG_H_
#define SERVICES_RETORTD_DEV_CONFIG_H_

#include <string>

#include "absl/status/statusor.h"
#include "retort/server/v1/server_config.pb.h"

namespace retort::services {

struct DevOptions {
  std::string data_dir;   // made when missing, readable by its owner only
  std::string listen;     // host:port; only loopback hosts are accepted
  std::string packs_dir;  // policy packs that come with the program
  // Loopback host:port for probes, for metrics and for the HTTP gateway; empty means none of it.
  std::string health_listen, metrics_listen, gateway_listen;
};

// A configuration for all roles under options.data_dir:
//
//   dev/   ca.crt, and server, client and second, each .crt and .key   made anew when missing or ended
//          access.yaml   made once: the two clients may do everything; `endpoint` and `gateway` are written
//          when serving
//   keys/  log.key teacher.key policy.key jobs.key trainer.key vault.key   made once, mode 0600
//
// and two teachers: `embedded` (the GGUF file of the set-up) and `openai` (its key from OPENAI_API_KEY).
// Called again on the same folder it finds what it made. InvalidArgument for a host that is not loopback;
// FailedPrecondition when the folder cannot be written or a key file in it is unusable.
absl::StatusOr<server::v1::ServerConfig> MakeDevConfig(const DevOptions& options);

// Tells clients where to connect: writes data_dir/dev/gateway, when there is one, and data_dir/dev/endpoint,
// each atomically and in this order.
absl::Status WriteDevEndpoint(const std::string& data_dir, const std::string& endpoint,
                              const std::string& gateway);

// Takes that back when the server stops, so that clients say "no server" instead of trying a dead port.
void RemoveDevEndpoint(const std::string& data_dir);

// Who calls through the gateway of `retortd --dev`: the identity of dev/client.crt. The errors of
// ReadCertificate.
absl::StatusOr<std::string> DevClientIdentity(const std::string& data_dir);

// ${XDG_STATE_HOME:-~/.local/state}/retort
std::string DefaultDevDataDir();

}  // namespace retort::services

#endif  // SERVICES_RETORTD_DEV_CONFIG_H_
