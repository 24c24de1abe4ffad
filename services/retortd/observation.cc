#include "services/retortd/observation.h"

#include <chrono>
#include <utility>

#include "services/edge/server.h"
#include "services/identity/certificate.h"
#include "services/retortd/hosted_roles.h"
#include "services/telemetry/log.h"

namespace retort::services {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(1);

}  // namespace

Observation::~Observation() = default;

absl::StatusOr<std::unique_ptr<Observation>> Observation::Start(const server::v1::ServerConfig& config,
                                                                const std::set<std::string>& roles,
                                                                const std::string& version) {
  std::unique_ptr<Observation> made(new Observation());
  made->certificate_ = config.tls().certificate();
  if (!config.health_listen().empty()) {
    auto health = HealthServer::Start(config.health_listen(), HostedRoles::ServiceNames(roles));
    if (!health.ok()) return health.status();
    made->health_ = *std::move(health);
  }
  if (!config.metrics_listen().empty()) {
    made->metrics_ = std::make_unique<Metrics>(BuildInfo{.version = version, .commit = RETORT_COMMIT});
    made->metrics_->SetReady(false);
    made->metrics_->OnScrape([observation = made.get()] { observation->Measure(); });
    auto server = MetricsServer::Start(config.metrics_listen(), *made->metrics_);
    if (!server.ok()) return server.status();
    made->metrics_server_ = *std::move(server);
  }
  const auto at = [](const std::string& listen, int port) {
    return listen.substr(0, listen.rfind(':')) + ":" + std::to_string(port);
  };
  if (made->health_ != nullptr) {
    Log(LogLevel::kInfo, "health, without TLS, on " + at(config.health_listen(), made->health_->port()));
  }
  if (made->metrics_server_ != nullptr) {
    Log(LogLevel::kInfo,
        "metrics on http://" + at(config.metrics_listen(), made->metrics_server_->port()) + "/metrics");
  }
  return made;
}

void Observation::Follow(HostedRoles* hosted, EdgeServer* server) {
  {
    const std::lock_guard lock(mutex_);
    hosted_ = hosted;
    server_ = server;
  }
  Look();
  looking_ = std::make_unique<Periodic>(kLookEvery, [this] { Look(); });
}

void Observation::BeginDrain() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  Look();
}

void Observation::Forget() {
  looking_.reset();
  const std::lock_guard lock(mutex_);
  hosted_ = nullptr;
  server_ = nullptr;
}

void Observation::Look() {
  const std::lock_guard lock(mutex_);
  if (hosted_ == nullptr) return;
  absl::Status whole;
  for (const auto& [service, standing] : hosted_->Standing()) {
    const absl::Status now = draining_ ? absl::UnavailableError("stopping") : standing;
    if (health_ != nullptr) health_->Set(service, now.ok());
    if (whole.ok()) whole = now;
  }
  if (health_ != nullptr) health_->Set("", whole.ok());
  if (metrics_ != nullptr) metrics_->SetReady(whole.ok());
  server_->SetServing(whole.ok());
  if (draining_ || said_ready_ == whole.ok()) return;
  said_ready_ = whole.ok();
  if (whole.ok()) {
    Log(LogLevel::kInfo, "ready");
  } else {
    Log(LogLevel::kWarning, "not ready: " + std::string(whole.message()));
  }
}

void Observation::Measure() {
  const auto facts = ReadCertificate(certificate_);
  if (facts.ok()) {
    const auto end = facts->not_after.time_since_epoch();
    metrics_->SetCertificateExpiry(
        static_cast<double>(std::chrono::duration_cast<std::chrono::seconds>(end).count()));
  }
  const std::lock_guard lock(mutex_);
  if (hosted_ != nullptr) hosted_->Measure(*metrics_);
}

}  // namespace retort::services
