// retortd: hosts the roles jobs, teacher, policy and ledger, all or some.
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <set>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "google/protobuf/text_format.h"
#include "services/edge/server.h"
#include "services/edge/server_config.h"
#include "services/identity/certificate.h"
#include "services/identity/clock_check.h"
#include "services/identity/periodic.h"
#include "services/identity/private_process.h"
#include "services/retortd/backup_commands.h"
#include "services/retortd/dev_config.h"
#include "services/retortd/hosted_gateway.h"
#include "services/retortd/hosted_roles.h"
#include "services/retortd/observation.h"
#include "services/telemetry/call_telemetry.h"
#include "services/telemetry/log.h"

namespace {

using retort::server::v1::ServerConfig;
using retort::services::Log, retort::services::LogLevel;

constexpr auto kDrainGrace = std::chrono::seconds(10);
constexpr auto kAnswerGrace = std::chrono::seconds(1);  // of the gateway, to write what its calls came to
constexpr auto kExpiryCheck = std::chrono::hours(1);
constexpr std::chrono::seconds kDrainWait(2);
constexpr std::chrono::milliseconds kForEver(-1);

struct Flags {
  bool dev = false;
  bool print_config = false;
  std::string config, roles, data_dir, listen, packs_dir, health_listen, metrics_listen, gateway_listen;
};

// <folder of this program>/../share/retort/packs: where the build and an installation both put the packs.
std::string ShippedPacksDir() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
  const std::string program(path, length > 0 ? static_cast<size_t>(length) : 0);
  const std::string bin = program.substr(0, program.rfind('/'));
  return bin.substr(0, bin.rfind('/')) + "/share/retort/packs";
}

absl::StatusOr<ServerConfig> Configure(const Flags& flags, const std::set<std::string>& roles) {
  if (flags.dev == !flags.config.empty()) {
    return absl::InvalidArgumentError("wanted either --dev or --config FILE");
  }
  if (flags.dev) {
    if (roles.size() != 4)
      return absl::InvalidArgumentError("--roles: --dev hosts all roles; use --config to host some");
    auto config = retort::services::MakeDevConfig(
        {.data_dir = flags.data_dir.empty() ? retort::services::DefaultDevDataDir() : flags.data_dir,
         .listen = flags.listen.empty() ? "127.0.0.1:7443" : flags.listen,
         .packs_dir = flags.packs_dir.empty() ? ShippedPacksDir() : flags.packs_dir,
         .health_listen = flags.health_listen,
         .metrics_listen = flags.metrics_listen,
         .gateway_listen = flags.gateway_listen.empty() ? "127.0.0.1:0" : flags.gateway_listen});
    if (!config.ok()) return config;
    // Roles of one process name each other's address before the server runs, so port 0 is settled here.
    if (config->listen().substr(config->listen().rfind(':')) == ":0") {
      auto port = retort::services::FreeLoopbackPort();
      if (!port.ok()) return port.status();
      config->set_listen("127.0.0.1:" + std::to_string(*port));
    }
    return config;
  }
  for (const auto& [flag, value] : {std::pair{"--data-dir", flags.data_dir},
                                    {"--listen", flags.listen},
                                    {"--packs-dir", flags.packs_dir},
                                    {"--health-listen", flags.health_listen},
                                    {"--metrics-listen", flags.metrics_listen},
                                    {"--gateway-listen", flags.gateway_listen}}) {
    if (!value.empty())
      return absl::InvalidArgumentError(std::string(flag) + ": goes with --dev; --config has its own");
  }
  return retort::services::LoadServerConfig(flags.config, roles);
}

// Blocks SIGTERM and SIGINT in every thread to come and returns a descriptor that reads them.
int StopSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return signalfd(-1, &set, SFD_CLOEXEC);
}

// Rotation replaces the file, so it is read anew each time.
void WarnOfExpiry(const std::string& certificate) {
  const auto facts = retort::services::ReadCertificate(certificate);
  const std::string warning =
      facts.ok() ? retort::services::ExpiryWarning(certificate, *facts, std::chrono::system_clock::now())
                 : std::string(facts.status().message());
  if (!warning.empty()) Log(LogLevel::kWarning, warning);
}

std::chrono::seconds DrainWait(const ServerConfig& config) {
  if (config.has_drain_wait_seconds()) return std::chrono::seconds(config.drain_wait_seconds());
  return config.health_listen().empty() ? std::chrono::seconds(0) : kDrainWait;
}

// Returns at the next signal, or when `patience` has passed.
void AwaitSignal(int signals, std::chrono::milliseconds patience) {
  pollfd waiting{signals, POLLIN, 0};
  while (poll(&waiting, 1, static_cast<int>(patience.count())) < 0 && errno == EINTR) {
  }
  signalfd_siginfo received{};
  if ((waiting.revents & POLLIN) != 0 && read(signals, &received, sizeof(received)) < 0) return;
}

absl::Status Serve(const Flags& flags, const ServerConfig& config, const std::set<std::string>& roles) {
  using retort::services::BuildDay, retort::services::CheckClock;
  if (auto s = CheckClock(std::chrono::system_clock::now(), BuildDay(), "the day this program was built");
      !s.ok()) {
    return s;
  }
  const int signals = StopSignals();
  if (signals < 0) return absl::InternalError("no descriptor for signals");
  auto observation = retort::services::Observation::Start(config, roles, RETORT_VERSION);
  if (!observation.ok()) return observation.status();
  auto hosted = retort::services::HostedRoles::Open(config, roles, (*observation)->metrics());
  if (!hosted.ok()) return hosted.status();
  const std::string certificate = config.tls().certificate();
  WarnOfExpiry(certificate);
  const retort::services::Periodic expiry(kExpiryCheck, [certificate] { WarnOfExpiry(certificate); });
  auto server = retort::services::EdgeServer::Start(
      {.listen = config.listen(),
       .tls = {certificate, config.tls().private_key(), config.tls().authorities()},
       .reflection = config.reflection(),
       .access = (*hosted)->access(),
       .limits = retort::services::CallLimitsOf(config.call_limits()),
       .telemetry = retort::services::MakeCallTelemetry(
           {.metrics = (*observation)->metrics(),
            .methods = retort::services::MethodsOf(retort::services::HostedRoles::ServiceNames(roles))})},
      (*hosted)->services());
  if (!server.ok()) return server.status();
  auto gateway = retort::services::StartGateway(config, roles, flags.dev, (*hosted)->access(), **server);
  if (!gateway.ok()) return gateway.status();
  if (auto s = (*hosted)->Start(); !s.ok()) return s;
  const std::string endpoint =
      config.listen().substr(0, config.listen().rfind(':')) + ":" + std::to_string((*server)->port());
  if (flags.dev) {
    if (auto s = retort::services::WriteDevEndpoint(config.data_dir(), endpoint,
                                                    retort::services::GatewayAddress(config, gateway->get()));
        !s.ok()) {
      return s;
    }
    Log(LogLevel::kInfo, "--dev: throw-away keys and certificates, this machine only; not for production");
  }
  std::string names;
  for (const auto& role : roles) names += (names.empty() ? "" : ",") + role;
  Log(LogLevel::kInfo, "serving " + names + " on " + endpoint + ", state in " + config.data_dir());
  (*observation)->Follow(hosted->get(), server->get());
  const absl::Cleanup forget = [&] { (*observation)->Forget(); };

  AwaitSignal(signals, kForEver);
  Log(LogLevel::kInfo, "stopping");
  if (flags.dev) retort::services::RemoveDevEndpoint(config.data_dir());
  (*observation)->BeginDrain();
  AwaitSignal(signals, DrainWait(config));  // a second signal is impatient
  if (*gateway != nullptr) (*gateway)->BeginDrain();
  (*hosted)->Stop(kDrainGrace);
  (*server)->Drain(kDrainGrace);  // calls of the gateway among them
  if (*gateway != nullptr) (*gateway)->Drain(kAnswerGrace);
  return absl::OkStatus();
}

void LogError(const absl::Status& status) {
  Log(LogLevel::kError, std::string(status.message()));
}

}  // namespace

int main(int argc, char** argv) {
  if (auto s = retort::services::KeepMemoryPrivate(); !s.ok()) {
    LogError(s);
    return 1;
  }
  Flags flags;
  flags.roles = "jobs,teacher,policy,ledger";
  CLI::App app(
      "Hosts the services of Retort.\n\nExamples:\n  retortd --dev\n  retortd --config "
      "/etc/retort/retortd.yaml --roles ledger");
  app.set_version_flag("--version", RETORT_VERSION);
  app.add_flag("--dev", flags.dev, "All roles on loopback, with keys and certificates made here");
  app.add_option("--config", flags.config, "YAML of retort.server.v1.ServerConfig");
  app.add_option("--roles", flags.roles, "Roles that this process hosts, separated by commas")
      ->capture_default_str();
  app.add_option("--data-dir", flags.data_dir, "With --dev: where state is kept");
  app.add_option("--listen", flags.listen,
                 "With --dev: 127.0.0.1:port; port 0 picks a free one (default 127.0.0.1:7443)");
  app.add_option("--packs-dir", flags.packs_dir,
                 "With --dev: policy packs instead of those that come with the program");
  app.add_option("--health-listen", flags.health_listen,
                 "With --dev: 127.0.0.1:port for health probes without TLS");
  app.add_option("--metrics-listen", flags.metrics_listen, "With --dev: 127.0.0.1:port for GET /metrics");
  app.add_option("--gateway-listen", flags.gateway_listen,
                 "With --dev: 127.0.0.1:port of the HTTP gateway (default: a free port)");
  app.add_flag("--print-config", flags.print_config,
               "Print the configuration in effect and end; it holds no secret, only paths");
  int command_exit = 0;
  retort::services::AddBackupCommands(app, command_exit);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (!app.get_subcommands().empty()) return command_exit;
  const auto roles = retort::services::ParseRoles(flags.roles);
  if (!roles.ok()) {
    LogError(roles.status());
    return 2;
  }
  const auto config = Configure(flags, *roles);
  if (!config.ok()) {
    LogError(config.status());
    return 2;
  }
  if (flags.print_config) {
    std::string text;
    google::protobuf::TextFormat::PrintToString(*config, &text);
    std::fputs(text.c_str(), stdout);
    return 0;
  }
  const bool text = config->log_format().empty() ? flags.dev : config->log_format() == "text";
  retort::services::SetUpLog(
      {.format = text ? retort::services::LogFormat::kText : retort::services::LogFormat::kJson,
       .service = "retortd",
       .version = RETORT_VERSION});
  signal(SIGPIPE, SIG_IGN);
  if (auto s = Serve(flags, *config, *roles); !s.ok()) {
    LogError(s);
    return 1;
  }
  return 0;
}
