#include "services/edge/server_config.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <vector>

#include "ledger/fixed_decimal.h"
#include "proto/strict_yaml.h"
#include "services/edge/address.h"
#include "services/edge/launcher_config.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

using server::v1::ServerConfig;

// A field must be there exactly when one of the hosted roles uses it.
absl::Status CheckUse(std::string_view field, const std::string& value, bool used, std::string_view used_by) {
  if (used && value.empty())
    return InvalidField(field, "", "a value: the role " + std::string(used_by) + " needs it");
  if (!used && !value.empty()) {
    return InvalidField(
        field, value,
        "nothing: only the role " + std::string(used_by) + " uses it, and it is not hosted here");
  }
  return absl::OkStatus();
}

bool IsCurrency(std::string_view text) {
  return text.size() == 3 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

absl::Status CheckTrainingCosts(const server::v1::TrainingCosts& costs) {
  for (const auto& [field, value] : {std::pair{"price_device_hour", costs.price_device_hour()},
                                     {"price_kwh", costs.price_kwh()},
                                     {"declared_watts", costs.declared_watts()}}) {
    if (value.empty() || ledger::FixedDecimal::Parse(value).ok()) continue;
    return InvalidField(std::string("training_costs.") + field, value,
                        "a decimal number like \"0.30\", with at most nine digits after the point");
  }
  const bool priced = !costs.price_device_hour().empty() || !costs.price_kwh().empty();
  if (priced ? IsCurrency(costs.currency()) : costs.currency().empty()) return absl::OkStatus();
  return InvalidField("training_costs.currency", costs.currency(),
                      "three capital letters, together with a price");
}

absl::Status CheckPrice(const std::string& field, const server::v1::TeacherConfig& teacher) {
  if (!teacher.has_price()) return absl::OkStatus();
  const auto& price = teacher.price();
  if (teacher.has_local())
    return InvalidField(field, "a price", "nothing: a local teacher's cost is the machine's");
  if (!IsCurrency(price.currency_code()))
    return InvalidField(field + ".currency_code", price.currency_code(), "three capital letters");
  for (const auto& [name, value] :
       {std::pair{"per_million_prompt_tokens", price.per_million_prompt_tokens()},
        {"per_million_completion_tokens", price.per_million_completion_tokens()}}) {
    if (!ledger::FixedDecimal::Parse(value).ok())
      return InvalidField(field + "." + name, value, "a decimal number like \"0.25\"");
  }
  return absl::OkStatus();
}

// Ports besides `listen`, and what is said about the process.
absl::Status CheckObservation(const ServerConfig& config, bool jobs) {
  std::set<std::string> taken{config.listen()};
  for (const auto& [field, value] :
       {std::pair{"health_listen", config.health_listen()}, {"metrics_listen", config.metrics_listen()}}) {
    if (value.empty()) continue;
    if (!IsAddress(value)) return InvalidField(field, value, "host:port");
    if (!value.ends_with(":0") && !taken.insert(value).second) {
      return InvalidField(field, value, "a port of its own: it is plaintext, and another field has this one");
    }
  }
  if (!config.gateway_listen().empty()) {
    if (!IsAddress(config.gateway_listen()))
      return InvalidField("gateway_listen", config.gateway_listen(), "host:port");
    if (!config.gateway_listen().ends_with(":0") && !taken.insert(config.gateway_listen()).second)
      return InvalidField("gateway_listen", config.gateway_listen(),
                          "a port of its own: another field has this one");
  } else if (config.gateway_origins_size() > 0) {
    return InvalidField("gateway_origins", config.gateway_origins(0),
                        "gateway_listen: without it nothing is served to pages");
  }
  if (!config.advertise().empty() && !jobs) {
    return InvalidField("advertise", config.advertise(), "nothing: only the role jobs uses it");
  }
  if (!config.advertise().empty() &&
      (!IsAddress(config.advertise()) || AddressWithin(config.advertise()) != config.advertise())) {
    return InvalidField("advertise", config.advertise(), "host:port that others can call, and no wildcard");
  }
  if (!config.log_format().empty() && config.log_format() != "json" && config.log_format() != "text") {
    return InvalidField("log_format", config.log_format(), "json or text");
  }
  if (config.drain_wait_seconds() < 0 || config.drain_wait_seconds() > 60) {
    return InvalidField("drain_wait_seconds", std::to_string(config.drain_wait_seconds()), "0 to 60");
  }
  return absl::OkStatus();
}

constexpr int kOutageSecondsMax = 7 * 24 * 3600;

// Each open call holds one of the server's 512 threads, and the calls of services need some too.
constexpr int kOpenCallsMax = 448;

absl::Status CheckCallLimits(const server::v1::CallLimits& limits) {
  for (const auto& [name, value, most] :
       {std::tuple{"calls_per_second", limits.calls_per_second(), 1'000'000},
        {"burst", limits.burst(), 1'000'000},
        {"calls_of_identity", limits.calls_of_identity(), kOpenCallsMax},
        {"calls", limits.calls(), kOpenCallsMax},
        {"streams_of_identity", limits.streams_of_identity(), kOpenCallsMax},
        {"streams", limits.streams(), kOpenCallsMax}}) {
    if (value < 0 || value > most) {
      return InvalidField(std::string("call_limits.") + name, std::to_string(value),
                          "0 (the default) to " + std::to_string(most));
    }
  }
  const CallLimitsOptions effective = CallLimitsOf(limits);
  if (effective.calls + effective.streams > kOpenCallsMax) {
    return InvalidField("call_limits", std::to_string(effective.calls + effective.streams),
                        "calls and streams of at most " + std::to_string(kOpenCallsMax) + " together");
  }
  return absl::OkStatus();
}

absl::Status CheckTeacher(const server::v1::TeacherConfig& teacher, std::set<std::string>& ids) {
  const std::string field = "teachers[" + teacher.id() + "]";
  if (!IsResourceId(teacher.id()))
    return InvalidField("teachers.id", teacher.id(), "[a-z]([a-z0-9-]{0,61}[a-z0-9])?");
  if (!ids.insert(teacher.id()).second) return InvalidField("teachers.id", teacher.id(), "distinct ids");
  if (teacher.provider().empty()) return InvalidField(field + ".provider", "", "the maker of the model");
  if (teacher.model().empty())
    return InvalidField(field + ".model", "", "the model as its provider spells it");
  if (teacher.channel() == teacher::v1::CHANNEL_UNSPECIFIED) {
    return InvalidField(field + ".channel", "CHANNEL_UNSPECIFIED",
                        "how the model is reached, for example OPEN_WEIGHTS");
  }
  if (auto s = CheckPrice(field + ".price", teacher); !s.ok()) return s;
  switch (teacher.backend_case()) {
    case server::v1::TeacherConfig::kLocal:
      if (teacher.local().threads() < 0 || teacher.local().max_sequences() < 0) {
        return InvalidField(field + ".local", "a negative number", "0 or more");
      }
      return absl::OkStatus();
    case server::v1::TeacherConfig::kOpenaiChat: {
      const auto& chat = teacher.openai_chat();
      if (chat.base_url().rfind("https://", 0) != 0 && chat.base_url().rfind("http://", 0) != 0) {
        return InvalidField(field + ".openai_chat.base_url", chat.base_url(), "http:// or https://");
      }
      if (chat.base_url().find('@') != std::string::npos || chat.base_url().find('?') != std::string::npos) {
        return InvalidField(field + ".openai_chat.base_url", "a user or a query",
                            "scheme, host and path: a key belongs into api_key_file");
      }
      if (!chat.api_key_file().empty() && !chat.api_key_env().empty()) {
        return InvalidField(field + ".openai_chat", "api_key_file and api_key_env", "at most one of them");
      }
      if (chat.timeout_seconds() < 0 || chat.timeout_seconds() > 3600) {
        return InvalidField(field + ".openai_chat.timeout_seconds", std::to_string(chat.timeout_seconds()),
                            "0 to 3600");
      }
      if (chat.max_attempts() < 0 || chat.max_attempts() > 20) {
        return InvalidField(field + ".openai_chat.max_attempts", std::to_string(chat.max_attempts()),
                            "0 to 20");
      }
      if (chat.top_logprobs_max() < 0 || chat.top_logprobs_max() > 64) {
        return InvalidField(field + ".openai_chat.top_logprobs_max", std::to_string(chat.top_logprobs_max()),
                            "0 to 64");
      }
      return absl::OkStatus();
    }
    default:
      return InvalidField(field, "no backend", "local or openai_chat");
  }
}

// The files of a configuration: `path` itself, or the *.yaml of the folder `path` in the order of their
// names. What begins with a dot is how Kubernetes swaps a mounted ConfigMap.
absl::StatusOr<std::vector<std::string>> ConfigFiles(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error)) return std::vector<std::string>{path};
  std::vector<std::string> files;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.front() == '.') continue;
    if (at->path().extension() != ".yaml")
      return absl::InvalidArgumentError(path + "/" + name + ": wanted only *.yaml files in this folder");
    files.push_back(at->path().string());
  }
  if (error) return absl::InvalidArgumentError(path + ": " + error.message());
  if (files.empty()) return absl::InvalidArgumentError(path + ": wanted a *.yaml file in this folder");
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

CallLimitsOptions CallLimitsOf(const server::v1::CallLimits& limits) {
  CallLimitsOptions options;
  const auto take = [](int& value, int given) {
    if (given > 0) value = given;
  };
  take(options.calls_per_second, limits.calls_per_second());
  options.burst = limits.burst() > 0 ? limits.burst() : 2 * options.calls_per_second;
  take(options.calls_of_identity, limits.calls_of_identity());
  take(options.calls, limits.calls());
  take(options.streams_of_identity, limits.streams_of_identity());
  take(options.streams, limits.streams());
  return options;
}

absl::StatusOr<std::set<std::string>> ParseRoles(std::string_view list) {
  std::set<std::string> roles;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t comma = std::min(list.find(',', begin), list.size());
    const std::string role(list.substr(begin, comma - begin));
    if (std::find(std::begin(kRoles), std::end(kRoles), role) == std::end(kRoles)) {
      return absl::InvalidArgumentError("--roles: saw '" + role +
                                        "', wanted jobs, teacher, policy or ledger, separated by commas");
    }
    if (!roles.insert(role).second)
      return absl::InvalidArgumentError("--roles: '" + role + "' is given twice");
    begin = comma + 1;
  }
  return roles;
}

absl::Status ValidateServerConfig(const ServerConfig& config, const std::set<std::string>& roles) {
  const bool jobs = roles.count("jobs"), teacher = roles.count("teacher"), policy = roles.count("policy"),
             ledger = roles.count("ledger");
  if (!IsReleaseName(config.deployment())) {
    return InvalidField("deployment", config.deployment(), "[A-Za-z0-9][A-Za-z0-9._-]{0,95}");
  }
  if (!IsAddress(config.listen())) return InvalidField("listen", config.listen(), "host:port");
  if (config.data_dir().empty()) return InvalidField("data_dir", "", "a directory");
  for (const auto& [field, value] : {std::pair{"tls.certificate", config.tls().certificate()},
                                     {"tls.private_key", config.tls().private_key()},
                                     {"tls.authorities", config.tls().authorities()}}) {
    if (value.empty()) return InvalidField(field, "", "a PEM file");
  }
  if (config.access_file().empty()) return InvalidField("access_file", "", "a YAML file of an AccessPolicy");
  struct Use {
    const char* field;
    const std::string& value;
    bool used;
    const char* by;
  };
  const Use uses[] = {
      {"keys.log", config.keys().log(), ledger, "ledger"},
      {"keys.vault", config.keys().vault(), ledger, "ledger"},
      {"keys.teacher", config.keys().teacher(), teacher, "teacher"},
      {"keys.policy", config.keys().policy(), policy, "policy"},
      {"keys.jobs", config.keys().jobs(), jobs, "jobs"},
      {"keys.trainer", config.keys().trainer(), jobs, "jobs"},
      {"packs_dir", config.packs_dir(), policy, "policy"},
      {"peers.teacher", config.peers().teacher(), jobs && !teacher, "jobs"},
      {"peers.policy", config.peers().policy(), jobs && !policy, "jobs"},
  };
  for (const Use& use : uses) {
    if (auto s = CheckUse(use.field, use.value, use.used, use.by); !s.ok()) return s;
  }
  if (ledger != config.peers().ledger().empty()) {
    return InvalidField("peers.ledger", config.peers().ledger(),
                        ledger ? "nothing: the role ledger is hosted here"
                               : "host:port: every process records there who was let in and who was refused");
  }
  if (!policy && !config.keys().reviewer().empty())
    return InvalidField("keys.reviewer", config.keys().reviewer(), "nothing: only the role policy uses it");
  if (!jobs && !config.trainer_program().empty()) {
    return InvalidField("trainer_program", config.trainer_program(), "nothing: only the role jobs uses it");
  }
  if (!jobs && (config.has_training_costs() || !config.metrics_dir().empty())) {
    return InvalidField(config.has_training_costs() ? "training_costs" : "metrics_dir", config.metrics_dir(),
                        "nothing: only the role jobs uses it");
  }
  if (!jobs && config.has_teacher_outage_seconds()) {
    return InvalidField("teacher_outage_seconds", std::to_string(config.teacher_outage_seconds()),
                        "nothing: only the role jobs uses it");
  }
  if (config.teacher_outage_seconds() < 0 || config.teacher_outage_seconds() > kOutageSecondsMax) {
    return InvalidField("teacher_outage_seconds", std::to_string(config.teacher_outage_seconds()),
                        "0 to " + std::to_string(kOutageSecondsMax));
  }
  if (auto s = CheckTrainingCosts(config.training_costs()); !s.ok()) return s;
  if (auto s = CheckObservation(config, jobs); !s.ok()) return s;
  if (auto s = CheckCallLimits(config.call_limits()); !s.ok()) return s;
  if (config.has_training_launcher()) {
    if (!jobs) return InvalidField("training_launcher", "a launcher", "nothing: only the role jobs uses it");
    if (auto s = CheckTrainingLauncher(config, ledger); !s.ok()) return s;
  }
  if (teacher == (config.teachers_size() == 0)) {
    return InvalidField(
        "teachers", std::to_string(config.teachers_size()),
        teacher ? "at least one: the role teacher needs it" : "none: only the role teacher uses them");
  }
  if (ledger == (config.trusted_keys_size() == 0 && config.trusted_keys_dir().empty())) {
    return InvalidField("trusted_keys",
                        std::to_string(config.trusted_keys_size()) +
                            (config.trusted_keys_dir().empty() ? "" : " and " + config.trusted_keys_dir()),
                        ledger ? "at least one, or trusted_keys_dir: the role ledger needs them"
                               : "none: only the role ledger uses them");
  }
  std::set<std::string> ids;
  for (const auto& one : config.teachers()) {
    if (auto s = CheckTeacher(one, ids); !s.ok()) return s;
  }
  for (const auto& key : config.trusted_keys()) {
    constexpr std::string_view kKeyRoles[] = {"teacher", "policy", "jobs", "trainer", "reviewer"};
    if (std::find(std::begin(kKeyRoles), std::end(kKeyRoles), key.role()) == std::end(kKeyRoles)) {
      return InvalidField("trusted_keys.role", key.role(), "teacher, policy, jobs, trainer or reviewer");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ServerConfig> LoadServerConfig(const std::string& path, const std::set<std::string>& roles) {
  const auto files = ConfigFiles(path);
  if (!files.ok()) return files.status();
  ServerConfig config;
  for (const std::string& file : *files) {
    ServerConfig part;
    if (auto s = LoadYamlFile(file, &part); !s.ok()) return s;
    config.MergeFrom(part);
  }
  if (auto s = ValidateServerConfig(config, roles); !s.ok()) {
    return absl::Status(s.code(), path + ": " + std::string(s.message()));
  }
  return config;
}

}  // namespace retort::services
