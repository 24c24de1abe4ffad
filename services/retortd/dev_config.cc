#include "services/retortd/dev_config.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "ledger/hex.h"
#include "ledger/signing.h"
#include "services/edge/dev_identity.h"
#include "services/identity/certificate.h"

namespace retort::services {
namespace {

constexpr char kDeployment[] = "dev.retort.invalid";

absl::Status MakePrivateFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return absl::FailedPreconditionError(path + ": cannot be created: " + error.message());
  if (chmod(path.c_str(), 0700) != 0) {
    return absl::FailedPreconditionError(path + ": cannot be made private: " + std::strerror(errno));
  }
  return absl::OkStatus();
}

absl::Status WriteDurably(const std::string& path, const std::string& bytes, int flags, mode_t mode) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode);
  if (fd < 0) return absl::FailedPreconditionError(path + ": cannot be written: " + std::strerror(errno));
  const bool written =
      write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) && fsync(fd) == 0;
  const int error = errno;
  close(fd);
  if (!written) return absl::FailedPreconditionError(path + ": cannot be written: " + std::strerror(error));
  return absl::OkStatus();
}

// Loads the signing key of a role, making it first when there is none.
absl::StatusOr<ledger::SigningKey> EnsureKey(const std::string& path, const std::string& role) {
  auto loaded = ledger::SigningKey::Load(path);
  if (loaded.ok() || loaded.status().code() != absl::StatusCode::kNotFound) return loaded;
  auto made = ledger::SigningKey::Generate(std::string(kDeployment) + "/" + role);
  if (!made.ok()) return made;
  if (auto s = made->Save(path); !s.ok()) return s;
  return made;
}

absl::Status EnsureVaultKey(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(path, error)) return absl::OkStatus();
  unsigned char bytes[32];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1)
    return absl::InternalError("the system has no entropy for a vault key");
  std::string hex = ledger::HexEncode(std::string_view(reinterpret_cast<char*>(bytes), sizeof(bytes))) + "\n";
  const absl::Status written = WriteDurably(path, hex, O_EXCL, 0600);
  OPENSSL_cleanse(bytes, sizeof(bytes));
  OPENSSL_cleanse(hex.data(), hex.size());
  return written;
}

// This machine's one user may do everything but approve his own work; a second identity is there for that.
constexpr char kAccess[] =
    R"(# Who may do what with retortd --dev. Edit it while the server runs to try roles out.
trust_domain: dev.retort.invalid
grants:
  - identity: spiffe://dev.retort.invalid/client
    roles: [viewer, submitter, reviewer, policy_admin, auditor, operator]
    projects: ["*"]
  - identity: spiffe://dev.retort.invalid/second
    roles: [viewer, submitter, reviewer, policy_admin, auditor, operator]
    projects: ["*"]
  - identity: spiffe://dev.retort.invalid/server
    roles: [service_jobs, service_teacher, service_policy, service_ledger, service_trainer]
    projects: ["*"]
)";

absl::Status EnsureAccessFile(const std::string& path) {
  std::error_code error;
  if (std::filesystem::exists(path, error)) return absl::OkStatus();
  return WriteDurably(path, kAccess, O_EXCL, 0644);
}

void AddTeachers(server::v1::ServerConfig& config) {
  auto* embedded = config.add_teachers();
  embedded->set_id("embedded");
  embedded->set_provider("huggingface");
  embedded->set_channel(teacher::v1::CHANNEL_OPEN_WEIGHTS);
  embedded->set_model("SmolLM2-135M-Instruct");
  embedded->mutable_local();
  auto* openai = config.add_teachers();
  openai->set_id("openai");
  openai->set_provider("openai");
  openai->set_channel(teacher::v1::CHANNEL_FIRST_PARTY_API);
  openai->set_model("gpt-5");
  openai->set_account_class("api");
  openai->set_account_region("US");
  openai->mutable_openai_chat()->set_base_url("https://api.openai.com/v1");
  openai->mutable_openai_chat()->set_api_key_env("OPENAI_API_KEY");
  openai->mutable_openai_chat()->set_top_logprobs_max(20);
}

}  // namespace

absl::StatusOr<server::v1::ServerConfig> MakeDevConfig(const DevOptions& options) {
  for (const auto& [flag, address] : {std::pair<const char*, const std::string&>{"--listen", options.listen},
                                      {"--health-listen", options.health_listen},
                                      {"--metrics-listen", options.metrics_listen},
                                      {"--gateway-listen", options.gateway_listen}}) {
    const std::string host = address.substr(0, address.rfind(':'));
    if (host == "127.0.0.1" || host == "localhost") continue;
    if (address.empty() && flag != std::string_view("--listen")) continue;
    return absl::InvalidArgumentError(
        std::string(flag) + ": saw '" + address +
        "', wanted 127.0.0.1:port: --dev serves this machine only; use --config for others");
  }
  std::error_code error;
  const std::string data = std::filesystem::absolute(options.data_dir, error).string();
  const std::string dev = data + "/dev", keys = data + "/keys";
  for (const std::string& folder : {data, dev, keys}) {
    if (auto s = MakePrivateFolder(folder); !s.ok()) return s;
  }
  if (auto s = EnsureDevIdentity(dev); !s.ok()) return s;

  server::v1::ServerConfig config;
  config.set_deployment(kDeployment);
  config.set_listen(options.listen);
  config.set_data_dir(data);
  config.set_packs_dir(options.packs_dir);
  config.set_health_listen(options.health_listen);
  config.set_metrics_listen(options.metrics_listen);
  config.set_gateway_listen(options.gateway_listen);
  config.set_reflection(true);
  config.mutable_tls()->set_certificate(dev + "/server.crt");
  config.mutable_tls()->set_private_key(dev + "/server.key");
  config.mutable_tls()->set_authorities(dev + "/ca.crt");
  auto* files = config.mutable_keys();
  files->set_log(keys + "/log.key");
  files->set_teacher(keys + "/teacher.key");
  files->set_policy(keys + "/policy.key");
  files->set_jobs(keys + "/jobs.key");
  files->set_trainer(keys + "/trainer.key");
  files->set_reviewer(keys + "/reviewer.key");
  files->set_vault(keys + "/vault.key");
  if (auto log = EnsureKey(files->log(), "log"); !log.ok()) return log.status();
  for (const auto& [role, path] : {std::pair<const char*, const std::string&>{"teacher", files->teacher()},
                                   {"policy", files->policy()},
                                   {"jobs", files->jobs()},
                                   {"trainer", files->trainer()},
                                   {"reviewer", files->reviewer()}}) {
    auto key = EnsureKey(path, role);
    if (!key.ok()) return key.status();
    auto* trusted = config.add_trusted_keys();
    trusted->set_role(role);
    trusted->set_vkey(key->vkey());
  }
  if (auto s = EnsureVaultKey(files->vault()); !s.ok()) return s;
  config.set_access_file(dev + "/access.yaml");
  if (auto s = EnsureAccessFile(config.access_file()); !s.ok()) return s;
  AddTeachers(config);
  return config;
}

absl::Status WriteDevEndpoint(const std::string& data_dir, const std::string& endpoint,
                              const std::string& gateway) {
  for (const auto& [name, address] :
       {std::pair<const char*, const std::string&>{"gateway", gateway}, {"endpoint", endpoint}}) {
    const std::string path = data_dir + "/dev/" + name;
    if (address.empty()) {
      unlink(path.c_str());  // of a process that was killed
      continue;
    }
    if (auto s = WriteDurably(path + ".new", address + "\n", O_TRUNC, 0644); !s.ok()) return s;
    if (rename((path + ".new").c_str(), path.c_str()) != 0) {
      return absl::FailedPreconditionError(path + ": cannot be written: " + std::strerror(errno));
    }
  }
  return absl::OkStatus();
}

void RemoveDevEndpoint(const std::string& data_dir) {
  unlink((data_dir + "/dev/endpoint").c_str());
  unlink((data_dir + "/dev/gateway").c_str());
}

absl::StatusOr<std::string> DevClientIdentity(const std::string& data_dir) {
  auto facts = ReadCertificate(data_dir + "/dev/client.crt");
  if (!facts.ok()) return facts.status();
  return facts->uris.empty() ? std::string() : facts->uris.front();
}

std::string DefaultDevDataDir() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state != '\0') {
    return std::string(state) + "/retort";
  }
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "." : home) + "/.local/state/retort";
}

}  // namespace retort::services
