#include "services/retortd/hosted_roles.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "ledger/hex.h"
#include "policy/pack.h"
#include "retort/student/v1/student.grpc.pb.h"
#include "services/edge/address.h"
#include "services/edge/channel.h"
#include "services/edge/disk_room.h"
#include "services/edge/page_token.h"
#include "services/edge/server.h"
#include "services/identity/access_guard.h"
#include "services/identity/clock_check.h"
#include "services/identity/remote_access_sink.h"
#include "services/jobs/jobs_service.h"
#include "services/ledger/ledger_operations.h"
#include "services/ledger/ledger_service.h"
#include "services/ledger/log_access_sink.h"
#include "services/ledger/trusted_keys.h"
#include "services/operations/operations_service.h"
#include "services/policy/policy_service.h"
#include "services/retortd/training_launcher.h"
#include "services/teacher/configured_teachers.h"
#include "services/teacher/teacher_service.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"
#include "student/formats/gguf.h"
#include "student/inference/teacher_gguf.h"
#include "student/tokenizer/tokenizer.h"

namespace retort::services {
namespace {

using server::v1::ServerConfig;

// What an endpoint may need to come back from a restart, a deployment or an hour's quota.
constexpr std::chrono::hours kOutage(1);

absl::Status Led(const char* role, const absl::Status& status) {
  return absl::Status(status.code(), std::string(role) + ": " + std::string(status.message()));
}

int64_t NowMicroseconds() {
  using std::chrono::duration_cast, std::chrono::microseconds, std::chrono::system_clock;
  return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
}

std::string TrainerBesideThisProgram() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
  const std::string program(path, length > 0 ? static_cast<size_t>(length) : 0);
  return program.substr(0, program.rfind('/')) + "/retort-train";
}

// The tokenizer of students whose teacher reports no token ids. Without the embedded teacher's file such jobs
// are refused when they come to training; others do not need it.
absl::Status FillTokenizer(jobs::TrainerProgram& trainer) {
  auto path = student::FindTeacherGguf();
  if (path.status().code() == absl::StatusCode::kNotFound) return absl::OkStatus();
  if (!path.ok()) return path.status();
  auto file = student::GgufFile::Open(*path);
  if (!file.ok()) return file.status();
  auto tokenizer = student::Tokenizer::FromGguf(**file);
  if (!tokenizer.ok()) return tokenizer.status();
  trainer.tokenizer_gguf = *path;
  trainer.tokenizer_sha256 = ledger::HexEncode((*tokenizer)->Digest());
  trainer.vocabulary_size = (*tokenizer)->vocabulary_size();
  return absl::OkStatus();
}

void Say(const std::string& line) {
  Log(LogLevel::kWarning, line);
}

TlsPaths TlsOf(const ServerConfig& config) {
  return {config.tls().certificate(), config.tls().private_key(), config.tls().authorities()};
}

}  // namespace

// Members are destroyed from the last to the first: jobs before the logs that a trainer of it may still write
// to.
struct HostedRoles::Impl {
  std::string jobs_dir;
  std::unique_ptr<ledger::SigningKey> log_key;
  std::unique_ptr<ledger::SigningKey> jobs_key;
  std::unique_ptr<ledger::SigningKey> policy_key;
  std::unique_ptr<ledger::SigningKey> reviewer_key;
  std::unique_ptr<ProjectLogs> logs;
  std::unique_ptr<OperationHost> operations;
  std::unique_ptr<OperationsServiceImpl> operations_service;
  std::unique_ptr<LedgerServiceImpl> ledger;
  std::unique_ptr<TeacherServiceImpl> teacher;
  std::unique_ptr<PolicyRevisions> revisions;
  std::unique_ptr<PolicyServiceImpl> policy;
  std::unique_ptr<jobs::JobsService> jobs;
  // Who may call all these, and the record of it, which goes into the logs.
  std::unique_ptr<ledger::SigningKey> access_key;
  std::unique_ptr<AccessSink> sink;
  std::unique_ptr<AccessFile> access_file;
  std::unique_ptr<AccessAudit> audit;
  std::unique_ptr<AccessGuard> guard;

  absl::Status OpenAccess(const ServerConfig& config, const std::set<std::string>& roles);
  absl::Status OpenLedger(const ServerConfig& config);
  absl::Status OpenTeacher(const ServerConfig& config);
  absl::Status OpenPolicy(const ServerConfig& config, const std::set<std::string>& roles);
  absl::Status OpenJobs(const ServerConfig& config, const std::set<std::string>& roles, Metrics* metrics);
};

absl::Status HostedRoles::Impl::OpenLedger(const ServerConfig& config) {
  auto key = ledger::SigningKey::Load(config.keys().log());
  if (!key.ok()) return key.status();
  log_key = std::make_unique<ledger::SigningKey>(*std::move(key));
  auto vault = LoadVaultKey(config.keys().vault());
  if (!vault.ok()) return vault.status();
  ProjectLogsOptions options;
  options.data_dir = config.data_dir() + "/ledger";
  options.deployment = config.deployment();
  options.log_key = log_key.get();
  options.vault_key = *vault;
  options.now_us = NowMicroseconds;
  for (const auto& trusted : config.trusted_keys())
    options.trusted_keys.push_back({trusted.role(), trusted.vkey()});
  if (!config.trusted_keys_dir().empty()) {
    auto listed = LoadTrustedKeys(config.trusted_keys_dir(), *log_key);
    if (!listed.ok()) return listed.status();
    options.trusted_keys.insert(options.trusted_keys.end(), listed->begin(), listed->end());
  }
  logs = std::make_unique<ProjectLogs>(std::move(options));
  if (auto s = logs->OpenAll(); !s.ok()) return s;
  const auto newest =
      std::chrono::system_clock::time_point(std::chrono::microseconds(logs->NewestEntryTimeUs()));
  if (auto s = CheckClock(std::chrono::system_clock::now(), newest, "the newest entry of the ledger");
      !s.ok())
    return s;
  OperationHost::Options operation_options;
  operation_options.folder = config.data_dir() + "/operations";
  auto host = OperationHost::Open(std::move(operation_options), LedgerVerbs(logs.get()));
  if (!host.ok()) return host.status();
  operations = *std::move(host);
  operations_service = std::make_unique<OperationsServiceImpl>(operations.get());
  ledger = std::make_unique<LedgerServiceImpl>(logs.get(), operations.get(), PageTokens::WithRandomKey());
  return absl::OkStatus();
}

absl::Status HostedRoles::Impl::OpenTeacher(const ServerConfig& config) {
  auto key = ledger::SigningKey::Load(config.keys().teacher());
  if (!key.ok()) return key.status();
  auto registry = MakeTeacherRegistry(config.teachers());
  if (!registry.ok()) return registry.status();
  teacher = std::make_unique<TeacherServiceImpl>(*std::move(registry), *std::move(key),
                                                 PageTokens::WithRandomKey(), std::chrono::system_clock::now);
  return absl::OkStatus();
}

absl::Status HostedRoles::Impl::OpenPolicy(const ServerConfig& config, const std::set<std::string>& roles) {
  auto key = ledger::SigningKey::Load(config.keys().policy());
  if (!key.ok()) return key.status();
  policy_key = std::make_unique<ledger::SigningKey>(*std::move(key));
  if (!config.keys().reviewer().empty()) {
    auto reviewer = ledger::SigningKey::Load(config.keys().reviewer());
    if (!reviewer.ok()) return reviewer.status();
    reviewer_key = std::make_unique<ledger::SigningKey>(*std::move(reviewer));
  }
  auto packs = policy::PackSet::LoadFolder(config.packs_dir());
  if (!packs.ok()) return packs.status();
  auto opened =
      PolicyRevisions::Open(config.data_dir() + "/policy", *std::move(packs), std::chrono::system_clock::now);
  if (!opened.ok()) return opened.status();
  revisions = *std::move(opened);
  PolicyServiceOptions options;
  options.revisions = revisions.get();
  options.key = policy_key.get();
  options.reviewer_key = reviewer_key.get();
  auto to_ledger = ConnectTo(roles.count("ledger") ? AddressWithin(config.listen()) : config.peers().ledger(),
                             TlsOf(config));
  if (!to_ledger.ok()) return to_ledger.status();
  options.ledger = ledger::v1::LedgerService::NewStub(*to_ledger);
  policy = std::make_unique<PolicyServiceImpl>(std::move(options));
  return absl::OkStatus();
}

absl::Status HostedRoles::Impl::OpenJobs(const ServerConfig& config, const std::set<std::string>& roles,
                                         Metrics* metrics) {
  auto key = ledger::SigningKey::Load(config.keys().jobs());
  if (!key.ok()) return key.status();
  jobs_key = std::make_unique<ledger::SigningKey>(*std::move(key));
  const TlsPaths tls = TlsOf(config);
  const auto address = [&](const char* role, const std::string& peer) {
    return roles.count(role) ? AddressWithin(config.listen()) : peer;
  };
  const std::string ledger_address = address("ledger", config.peers().ledger());
  auto to_ledger = ConnectTo(ledger_address, tls);
  if (!to_ledger.ok()) return to_ledger.status();
  auto to_teacher = ConnectTo(address("teacher", config.peers().teacher()), tls);
  if (!to_teacher.ok()) return to_teacher.status();
  auto to_policy = ConnectTo(address("policy", config.peers().policy()), tls);
  if (!to_policy.ok()) return to_policy.status();

  jobs::JobsServiceOptions options;
  options.patience.outage =
      config.has_teacher_outage_seconds() ? std::chrono::seconds(config.teacher_outage_seconds()) : kOutage;
  jobs_dir = config.data_dir() + "/jobs";
  options.data_dir = jobs_dir;
  if (metrics != nullptr) {
    options.began = [metrics](std::chrono::milliseconds queued) {
      metrics->JobBegan(std::chrono::duration<double>(queued).count());
    };
  }
  options.peers = {teacher::v1::TeacherService::NewStub(*to_teacher),
                   policy::v1::PolicyService::NewStub(*to_policy),
                   ledger::v1::LedgerService::NewStub(*to_ledger)};
  options.signing_key = jobs_key.get();
  options.trainer.program =
      config.trainer_program().empty() ? TrainerBesideThisProgram() : config.trainer_program();
  options.trainer.key_file = config.keys().trainer();
  options.trainer.ledger_address = ledger_address;
  options.trainer.jobs_address =
      config.advertise().empty() ? AddressWithin(config.listen()) : config.advertise();
  options.trainer.tls = tls;
  const auto& costs = config.training_costs();
  options.trainer.costs = {costs.currency(), costs.price_device_hour(), costs.price_kwh(),
                           costs.declared_watts()};
  options.trainer.metrics_dir = config.metrics_dir();
  if (auto s = FillTokenizer(options.trainer); !s.ok()) return s;
  auto training = MakeTraining(config.training_launcher(), options.trainer);
  if (!training.ok()) return training.status();
  options.launcher = std::move(training->launcher);
  options.launched = std::move(training->program);
  auto opened = jobs::JobsService::Open(std::move(options));
  if (!opened.ok()) return opened.status();
  jobs = *std::move(opened);
  return absl::OkStatus();
}

absl::Status HostedRoles::Impl::OpenAccess(const ServerConfig& config, const std::set<std::string>& roles) {
  auto file = AccessFile::Open({.path = config.access_file(), .say = Say});
  if (!file.ok()) return file.status();
  access_file = *std::move(file);
  if (roles.count("ledger")) {
    sink = std::make_unique<LogAccessSink>(logs.get(), log_key.get());
  } else {
    const auto& keys = config.keys();
    auto key = ledger::SigningKey::Load(roles.count("jobs")     ? keys.jobs()
                                        : roles.count("policy") ? keys.policy()
                                                                : keys.teacher());
    if (!key.ok()) return key.status();
    access_key = std::make_unique<ledger::SigningKey>(*std::move(key));
    auto channel = ConnectTo(config.peers().ledger(), TlsOf(config));
    if (!channel.ok()) return channel.status();
    sink = std::make_unique<RemoteAccessSink>(ledger::v1::LedgerService::NewStub(*channel), access_key.get());
  }
  audit = std::make_unique<AccessAudit>(AccessAuditOptions{.sink = sink.get(), .say = Say});
  guard = std::make_unique<AccessGuard>(access_file.get(), audit.get());
  return absl::OkStatus();
}

HostedRoles::HostedRoles(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HostedRoles::~HostedRoles() = default;

absl::StatusOr<std::unique_ptr<HostedRoles>> HostedRoles::Open(const ServerConfig& config,
                                                               const std::set<std::string>& roles,
                                                               Metrics* metrics) {
  auto impl = std::make_unique<Impl>();
  if (roles.count("ledger")) {
    if (auto s = impl->OpenLedger(config); !s.ok()) return Led("ledger", s);
  }
  if (auto s = impl->OpenAccess(config, roles); !s.ok()) return s;
  if (roles.count("teacher")) {
    if (auto s = impl->OpenTeacher(config); !s.ok()) return Led("teacher", s);
  }
  if (roles.count("policy")) {
    if (auto s = impl->OpenPolicy(config, roles); !s.ok()) return Led("policy", s);
  }
  if (roles.count("jobs")) {
    if (auto s = impl->OpenJobs(config, roles, metrics); !s.ok()) return Led("jobs", s);
  }
  return std::unique_ptr<HostedRoles>(new HostedRoles(std::move(impl)));
}

std::vector<std::string> HostedRoles::ServiceNames(const std::set<std::string>& roles) {
  std::vector<std::string> names;
  for (const auto& [role, name] :
       {std::pair<const char*, const char*>{"ledger", ledger::v1::LedgerService::service_full_name()},
        {"ledger", google::longrunning::Operations::service_full_name()},
        {"teacher", teacher::v1::TeacherService::service_full_name()},
        {"policy", policy::v1::PolicyService::service_full_name()},
        {"jobs", jobs::v1::JobsService::service_full_name()},
        {"jobs", student::v1::StudentService::service_full_name()}}) {
    if (roles.contains(role)) names.push_back(name);
  }
  return names;
}

std::vector<std::pair<std::string, absl::Status>> HostedRoles::Standing() const {
  std::vector<std::pair<std::string, absl::Status>> standing;
  for (const ServedService& served : services()) {
    absl::Status status;
    if (served.service == impl_->ledger.get() || served.service == impl_->operations_service.get())
      status = Led("ledger", impl_->logs->CheckAppendable());
    if (served.service == impl_->jobs.get()) status = Led("jobs", CheckDiskRoom(impl_->jobs_dir));
    standing.emplace_back(served.name, std::move(status));
  }
  return standing;
}

void HostedRoles::Measure(Metrics& metrics) const {
  if (impl_->logs != nullptr) {
    const auto entries = impl_->logs->CountEntries();
    metrics.SetLedger({.entries = entries.all,
                       .appended = entries.appended,
                       .newest_us = impl_->logs->NewestEntryTimeUs(),
                       .appendable = impl_->logs->CheckAppendable().ok()});
  }
  if (impl_->jobs != nullptr) {
    // A database that cannot be read leaves the last figures: readiness and the log say what is wrong.
    if (const auto counts = impl_->jobs->CountByState(); counts.ok()) metrics.SetJobs(*counts);
  }
}

std::vector<ServedService> HostedRoles::services() const {
  std::vector<ServedService> services;
  if (impl_->ledger) {
    services.push_back({impl_->ledger.get(), ledger::v1::LedgerService::service_full_name()});
    services.push_back(
        {impl_->operations_service.get(), google::longrunning::Operations::service_full_name()});
  }
  if (impl_->teacher)
    services.push_back({impl_->teacher.get(), teacher::v1::TeacherService::service_full_name()});
  if (impl_->policy)
    services.push_back({impl_->policy.get(), policy::v1::PolicyService::service_full_name()});
  if (impl_->jobs) {
    services.push_back({impl_->jobs.get(), jobs::v1::JobsService::service_full_name()});
    services.push_back({impl_->jobs->students(), student::v1::StudentService::service_full_name()});
  }
  return services;
}

const AccessGuard* HostedRoles::access() const {
  return impl_->guard.get();
}

absl::Status HostedRoles::Start() {
  if (impl_->jobs == nullptr) return absl::OkStatus();
  return impl_->jobs->Start();
}

void HostedRoles::Stop(std::chrono::milliseconds grace) {
  if (impl_->jobs) impl_->jobs->Stop(grace);
}

}  // namespace retort::services
