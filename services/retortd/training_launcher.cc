#include "services/retortd/training_launcher.h"

#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "services/jobs/kubernetes_launcher.h"
#include "services/jobs/process_launcher.h"

namespace retort::services {
namespace {

using kubernetes::PodTemplate;

constexpr char kServiceAccount[] = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr int kGraceOfTheKubelet = 10;  // seconds that the trainer's own grace is shorter

// The pod's name is its host's, unless the pod's specification says it by POD_NAME.
std::string OwnPodName() {
  if (const char* name = getenv("POD_NAME"); name != nullptr && *name != '\0') return name;
  char host[256] = {};
  return gethostname(host, sizeof host - 1) == 0 ? host : "";
}

template <class Map>
std::map<std::string, std::string> Sorted(const Map& words) {
  return {words.begin(), words.end()};
}

absl::StatusOr<PodTemplate> PodOf(const server::v1::KubernetesLauncher& config) {
  PodTemplate pod;
  pod.image = config.image();
  if (!config.program().empty()) pod.program = config.program();
  pod.service_account = config.service_account();
  pod.priority_class = config.priority_class();
  pod.runtime_class = config.runtime_class();
  pod.queue = config.queue();
  pod.device_resource = config.device_resource();
  pod.shared_memory = config.shared_memory();
  pod.claim = config.run_volume().claim();
  pod.claim_mount_path = config.run_volume().mount_path();
  pod.claim_sub_path = config.run_volume().sub_path();
  pod.requests = Sorted(config.requests());
  pod.limits = Sorted(config.limits());
  pod.node_selector = Sorted(config.node_selector());
  pod.environment = Sorted(config.environment());
  for (const auto& mount : config.mounts()) {
    using Source = PodTemplate::Mount::Source;
    pod.mounts.push_back(mount.has_secret()
                             ? PodTemplate::Mount{Source::kSecret, mount.secret(), mount.mount_path()}
                         : mount.has_config_map()
                             ? PodTemplate::Mount{Source::kConfigMap, mount.config_map(), mount.mount_path()}
                             : PodTemplate::Mount{Source::kClaim, mount.claim(), mount.mount_path()});
  }
  for (const auto& toleration : config.tolerations()) {
    pod.tolerations.push_back(
        {toleration.key(), toleration.operator_(), toleration.value(), toleration.effect()});
  }
  pod.image_pull_secrets = {config.image_pull_secrets().begin(), config.image_pull_secrets().end()};
  pod.run_as_user = config.run_as_user() > 0 ? config.run_as_user() : static_cast<int64_t>(getuid());
  pod.run_as_group = config.run_as_group() > 0 ? config.run_as_group() : static_cast<int64_t>(getgid());
  if (pod.run_as_user == 0) {
    return absl::FailedPreconditionError(
        "training_launcher.kubernetes.run_as_user: saw nothing, and this process is root; wanted a user, "
        "since pods do "
        "not run as root");
  }
  if (config.grace().seconds() > 0) pod.grace = std::chrono::seconds(config.grace().seconds());
  pod.active_deadline = std::chrono::seconds(config.active_deadline().seconds());
  if (config.keep_finished().seconds() > 0)
    pod.keep_finished = std::chrono::seconds(config.keep_finished().seconds());
  return pod;
}

absl::StatusOr<LaunchedTraining> InKubernetes(const server::v1::KubernetesLauncher& config,
                                              const jobs::TrainerProgram& trainer) {
  jobs::KubernetesOptions options;
  auto pod = PodOf(config);
  if (!pod.ok()) return pod.status();
  options.pod = *std::move(pod);
  options.name_space = config.namespace_();
  if (config.has_api()) {
    options.server = {config.api().url(), config.api().authorities(), config.api().token_file()};
  } else {
    auto server = kubernetes::ServerOfThisPod([](const char* name) { return getenv(name); }, kServiceAccount);
    if (!server.ok()) return server.status();
    options.server = *std::move(server);
    options.own_pod = OwnPodName();
    if (options.name_space.empty()) {
      auto own = kubernetes::ReadLineFile(std::string(kServiceAccount) + "/namespace");
      if (!own.ok()) return own.status();
      options.name_space = *std::move(own);
    }
  }
  LaunchedTraining training;
  training.program = trainer;
  training.program.tls = {config.files().certificate(), config.files().private_key(),
                          config.files().authorities()};
  training.program.key_file = config.files().signing_key();
  training.program.tokenizer_gguf = config.files().tokenizer();
  if (!config.ledger().empty()) training.program.ledger_address = config.ledger();
  training.program.jobs_address = config.jobs();
  training.program.device = config.device_resource().empty() ? "cpu" : "cuda";
  training.program.grace_seconds = static_cast<int>(options.pod.grace.count()) - kGraceOfTheKubelet;
  training.launcher = std::make_unique<jobs::KubernetesLauncher>(std::move(options));
  return training;
}

LaunchedTraining WithMpirun(const server::v1::MpirunLauncher& config, const jobs::TrainerProgram& trainer) {
  jobs::MpirunOptions options;
  options.program = trainer.program;
  if (!config.program().empty()) options.mpirun = config.program();
  options.hostfile = config.hostfile();
  options.ranks_per_host = config.ranks_per_host();
  options.arguments = {config.arguments().begin(), config.arguments().end()};
  LaunchedTraining training;
  training.program = trainer;
  training.program.device = config.device();
  training.launcher = std::make_unique<jobs::MpirunLauncher>(std::move(options));
  return training;
}

}  // namespace

absl::StatusOr<LaunchedTraining> MakeTraining(const server::v1::TrainingLauncher& config,
                                              const jobs::TrainerProgram& trainer) {
  if (config.has_kubernetes()) return InKubernetes(config.kubernetes(), trainer);
  if (config.has_mpirun()) return WithMpirun(config.mpirun(), trainer);
  return LaunchedTraining{std::make_unique<jobs::ProcessLauncher>(trainer.program), trainer};
}

}  // namespace retort::services
