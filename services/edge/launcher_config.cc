#include "services/edge/launcher_config.h"

#include <filesystem>
#include <set>
#include <string>
#include <string_view>

#include "google/protobuf/map.h"
#include "services/edge/address.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

using server::v1::KubernetesLauncher;
using Words = google::protobuf::Map<std::string, std::string>;

constexpr char kField[] = "training_launcher.kubernetes.";

absl::Status WrongLauncher(const std::string& field, std::string_view seen, std::string_view wanted) {
  return InvalidField(kField + field, seen, wanted);
}

// A name of an object: RFC 1123 labels with dots between them.
bool IsObjectName(const std::string& name) {
  return !name.empty() && name.size() <= 253 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string::npos &&
         name.front() != '-' && name.front() != '.' && name.back() != '-' && name.back() != '.';
}

bool IsAbsolute(const std::string& path) {
  return !path.empty() && path.front() == '/' && path.find("/..") == std::string::npos &&
         path.find(':') == std::string::npos;
}

// A Kubernetes quantity without a sign: digits, a point, one suffix.
bool IsQuantity(const std::string& text) {
  static const std::set<std::string_view> kSuffixes = {"", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"};
  const size_t end = text.find_first_not_of("0123456789.");
  const std::string number = text.substr(0, end);
  return !number.empty() && number.front() != '.' && number.back() != '.' &&
         number.find('.') == number.rfind('.') &&
         kSuffixes.count(end == std::string::npos ? "" : std::string_view(text).substr(end)) != 0;
}

absl::Status CheckQuantities(const char* field, const Words& quantities) {
  static const std::set<std::string_view> kResources = {"cpu", "memory", "ephemeral-storage"};
  for (const auto& [name, value] : quantities) {
    if (kResources.count(name) == 0) {
      return WrongLauncher(field, name, "cpu, memory or ephemeral-storage; device_resource asks for devices");
    }
    if (!IsQuantity(value))
      return WrongLauncher(std::string(field) + "." + name, value, "a quantity like 500m or 4Gi");
  }
  return absl::OkStatus();
}

absl::Status CheckSpan(const char* field, const google::protobuf::Duration& span, int64_t min, int64_t max) {
  if (span.seconds() == 0 && span.nanos() == 0) return absl::OkStatus();
  if (span.nanos() == 0 && span.seconds() >= min && span.seconds() <= max) return absl::OkStatus();
  return WrongLauncher(field,
                       std::to_string(span.seconds()) + "s" + (span.nanos() != 0 ? " and a fraction" : ""),
                       "whole seconds from " + std::to_string(min) + "s to " + std::to_string(max) + "s");
}

absl::Status CheckMounts(const KubernetesLauncher& launcher) {
  std::set<std::string> paths = {"/tmp"};
  for (const auto& mount : launcher.mounts()) {
    if (!IsAbsolute(mount.mount_path()) || !paths.insert(mount.mount_path()).second) {
      return WrongLauncher("mounts.mount_path", mount.mount_path(), "distinct absolute paths, not /tmp");
    }
    const std::string& name = mount.has_secret()       ? mount.secret()
                              : mount.has_config_map() ? mount.config_map()
                                                       : mount.claim();
    if (!IsObjectName(name)) {
      return WrongLauncher("mounts", name, "secret, config_map or claim with the name of an object");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckNames(const KubernetesLauncher& launcher) {
  const std::pair<const char*, const std::string&> optional[] = {
      {"namespace", launcher.namespace_()},
      {"service_account", launcher.service_account()},
      {"queue", launcher.queue()},
      {"priority_class", launcher.priority_class()},
      {"runtime_class", launcher.runtime_class()},
  };
  for (const auto& [field, name] : optional) {
    if (!name.empty() && !IsObjectName(name)) return WrongLauncher(field, name, "the name of an object");
  }
  if (!IsObjectName(launcher.run_volume().claim())) {
    return WrongLauncher("run_volume.claim", launcher.run_volume().claim(),
                         "the name of a PersistentVolumeClaim");
  }
  const std::string& device = launcher.device_resource();
  if (!device.empty() &&
      (device.find('/') == std::string::npos || device.find_first_of(" \t\n\"") != std::string::npos)) {
    return WrongLauncher("device_resource", device, "an extended resource like nvidia.com/gpu");
  }
  for (const auto& [name, value] : launcher.environment()) {
    if (name.empty() || name.find_first_of("= \n") != std::string::npos || name.rfind("RETORT_", 0) == 0 ||
        name == "JOB_COMPLETION_INDEX") {
      return WrongLauncher("environment", name, "names of variables that do not say which rank a process is");
    }
  }
  for (const auto& toleration : launcher.tolerations()) {
    static const std::set<std::string> kOperators = {"", "Exists", "Equal"};
    static const std::set<std::string> kEffects = {"", "NoSchedule", "PreferNoSchedule", "NoExecute"};
    if (kOperators.count(toleration.operator_()) == 0) {
      return WrongLauncher("tolerations.operator", toleration.operator_(), "Exists or Equal");
    }
    if (kEffects.count(toleration.effect()) == 0) {
      return WrongLauncher("tolerations.effect", toleration.effect(),
                           "NoSchedule, PreferNoSchedule or NoExecute");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckKubernetes(const KubernetesLauncher& launcher, const server::v1::ServerConfig& config,
                             bool hosts_ledger) {
  if (launcher.has_api()) {
    if (launcher.api().url().rfind("https://", 0) != 0) {
      return WrongLauncher("api.url", launcher.api().url(), "https://host:port");
    }
    if (launcher.api().url().find('/', 8) != std::string::npos) {
      return WrongLauncher("api.url", launcher.api().url(), "https://host:port, without a path");
    }
    if (launcher.api().authorities().empty()) return WrongLauncher("api.authorities", "", "a PEM file");
    if (launcher.api().token_file().empty())
      return WrongLauncher("api.token_file", "", "a file with a bearer token");
    if (launcher.namespace_().empty())
      return WrongLauncher("namespace", "", "a namespace: api names another cluster");
  }
  if (launcher.image().empty() || launcher.image().find_first_of(" \t\n") != std::string::npos) {
    return WrongLauncher("image", launcher.image(), "an image with retort-train");
  }
  const auto& volume = launcher.run_volume();
  if (!IsAbsolute(volume.mount_path()))
    return WrongLauncher("run_volume.mount_path", volume.mount_path(), "an absolute path");
  const std::filesystem::path runs = std::filesystem::path(config.data_dir()) / "jobs" / "runs";
  const auto inside = runs.lexically_normal().lexically_relative(
      std::filesystem::path(volume.mount_path()).lexically_normal());
  if (inside.empty() || *inside.begin() == "..") {
    return WrongLauncher("run_volume.mount_path", volume.mount_path(),
                         "a folder that holds " + runs.string());
  }
  if (!volume.sub_path().empty() &&
      (volume.sub_path().front() == '/' || volume.sub_path().find("..") != std::string::npos)) {
    return WrongLauncher("run_volume.sub_path", volume.sub_path(), "a relative path within the volume");
  }
  for (const auto& [field, path] : {std::pair{"certificate", launcher.files().certificate()},
                                    {"private_key", launcher.files().private_key()},
                                    {"authorities", launcher.files().authorities()},
                                    {"signing_key", launcher.files().signing_key()}}) {
    if (!IsAbsolute(path))
      return WrongLauncher(std::string("files.") + field, path, "an absolute path in the pod");
  }
  if (!launcher.files().tokenizer().empty() && !IsAbsolute(launcher.files().tokenizer())) {
    return WrongLauncher("files.tokenizer", launcher.files().tokenizer(), "an absolute path in the pod");
  }
  if (hosts_ledger && launcher.ledger().empty()) {
    return WrongLauncher("ledger", "",
                         "host:port: the ledger is hosted here, and pods reach it by another address");
  }
  for (const auto& [field, address] : {std::pair{"ledger", launcher.ledger()}, {"jobs", launcher.jobs()}}) {
    if (!address.empty() && !IsAddress(address)) return WrongLauncher(field, address, "host:port");
  }
  if (!config.metrics_dir().empty()) {
    return InvalidField("metrics_dir", config.metrics_dir(),
                        "nothing: trainers run in pods, and write no file here");
  }
  if (launcher.run_as_user() < 0)
    return WrongLauncher("run_as_user", std::to_string(launcher.run_as_user()), "a user, not 0");
  if (launcher.run_as_group() < 0)
    return WrongLauncher("run_as_group", std::to_string(launcher.run_as_group()), "a group");
  if (!launcher.shared_memory().empty() && !IsQuantity(launcher.shared_memory())) {
    return WrongLauncher("shared_memory", launcher.shared_memory(), "a quantity like 1Gi");
  }
  if (auto s = CheckNames(launcher); !s.ok()) return s;
  if (auto s = CheckMounts(launcher); !s.ok()) return s;
  if (auto s = CheckQuantities("requests", launcher.requests()); !s.ok()) return s;
  if (auto s = CheckQuantities("limits", launcher.limits()); !s.ok()) return s;
  if (auto s = CheckSpan("grace", launcher.grace(), 20, 3600); !s.ok()) return s;
  if (auto s = CheckSpan("active_deadline", launcher.active_deadline(), 60, 365 * 86'400); !s.ok()) return s;
  return CheckSpan("keep_finished", launcher.keep_finished(), 60, 30 * 86'400);
}

absl::Status CheckMpirun(const server::v1::MpirunLauncher& launcher) {
  constexpr std::string_view kMpirun = "training_launcher.mpirun.";
  for (const auto& [field, path] :
       {std::pair{"program", launcher.program()}, {"hostfile", launcher.hostfile()}}) {
    if (!path.empty() && path.front() != '/')
      return InvalidField(std::string(kMpirun) + field, path, "an absolute path");
  }
  if (launcher.ranks_per_host() < 0 || launcher.ranks_per_host() > 256) {
    return InvalidField("training_launcher.mpirun.ranks_per_host", std::to_string(launcher.ranks_per_host()),
                        "0 to 256");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTrainingLauncher(const server::v1::ServerConfig& config, bool hosts_ledger) {
  const server::v1::TrainingLauncher& launcher = config.training_launcher();
  switch (launcher.launcher_case()) {
    case server::v1::TrainingLauncher::kProcesses:
      return absl::OkStatus();
    case server::v1::TrainingLauncher::kMpirun:
      return CheckMpirun(launcher.mpirun());
    case server::v1::TrainingLauncher::kKubernetes:
      return CheckKubernetes(launcher.kubernetes(), config, hosts_ledger);
    case server::v1::TrainingLauncher::LAUNCHER_NOT_SET:
      break;
  }
  return InvalidField("training_launcher", "nothing in it", "processes, mpirun or kubernetes");
}

}  // namespace retort::services
