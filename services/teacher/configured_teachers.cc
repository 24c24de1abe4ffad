#include "services/teacher/configured_teachers.h"

#include <google/protobuf/util/time_util.h>

#include <chrono>
#include <optional>
#include <utility>

#include "services/edge/status.h"
#include "services/teacher/capture.h"
#include "teacher/api_key.h"
#include "teacher/local/local_teacher.h"
#include "teacher/openai_chat_teacher.h"

namespace retort::services {
namespace {

using server::v1::TeacherConfig;
using MadeTeacher = absl::StatusOr<std::unique_ptr<teacher::Teacher>>;

MadeTeacher MakeLocal(const server::v1::LocalBackend& config) {
  student::LlamaEngineOptions options;
  options.threads = config.threads();
  if (config.max_sequences() > 0) options.max_sequences = config.max_sequences();
  auto made = teacher::LocalTeacher::Create(config.gguf(), options);
  if (!made.ok()) return made.status();
  return *std::move(made);
}

absl::StatusOr<std::optional<teacher::ApiKey>> ReadKey(const server::v1::OpenAiChatBackend& config) {
  if (config.api_key_file().empty() && config.api_key_env().empty()) return std::optional<teacher::ApiKey>();
  auto key = config.api_key_file().empty() ? teacher::ApiKey::FromEnvironment(config.api_key_env())
                                           : teacher::ApiKey::FromFile(config.api_key_file());
  if (!key.ok()) return key.status();
  return std::optional<teacher::ApiKey>(*std::move(key));
}

MadeTeacher MakeOpenAiChat(const server::v1::OpenAiChatBackend& config, const std::string& provider,
                           const std::string& model) {
  auto key = ReadKey(config);
  if (!key.ok()) return key.status();
  teacher::OpenAiChatOptions options;
  options.base_url = config.base_url();
  options.model = model;
  options.dialect = provider == "openai" ? teacher::ChatDialect::kOpenAi : teacher::ChatDialect::kCompatible;
  options.top_logprobs_max = config.top_logprobs_max();
  if (config.timeout_seconds() > 0) options.http.timeout = std::chrono::seconds(config.timeout_seconds());
  if (config.max_attempts() > 0) options.retry.attempts_max = config.max_attempts();
  auto made = teacher::OpenAiChatTeacher::Create(std::move(options), *std::move(key));
  if (!made.ok()) return made.status();
  return *std::move(made);
}

// Any RFC 3339 time, in the one form that statements have.
absl::StatusOr<std::string> ReadAcquiredTime(const TeacherConfig& config) {
  if (config.acquired_time().empty()) return std::string();
  google::protobuf::Timestamp time;
  if (!google::protobuf::util::TimeUtil::FromString(config.acquired_time(), &time)) {
    return InvalidField("teachers[" + config.id() + "].acquired_time", config.acquired_time(),
                        "an RFC 3339 time such as 2026-01-31T00:00:00Z");
  }
  return StatementTime(std::chrono::system_clock::time_point(
      std::chrono::microseconds(google::protobuf::util::TimeUtil::TimestampToMicroseconds(time))));
}

}  // namespace

absl::StatusOr<std::unique_ptr<TeacherRegistry>> MakeTeacherRegistry(
    const google::protobuf::RepeatedPtrField<TeacherConfig>& configs) {
  auto registry = std::make_unique<TeacherRegistry>();
  for (const TeacherConfig& config : configs) {
    auto acquired_time = ReadAcquiredTime(config);
    if (!acquired_time.ok()) return acquired_time.status();
    TeacherRegistry::Maker maker;
    switch (config.backend_case()) {
      case TeacherConfig::kLocal:
        maker = [backend = config.local()] { return MakeLocal(backend); };
        break;
      case TeacherConfig::kOpenaiChat:
        maker = [backend = config.openai_chat(), provider = config.provider(), model = config.model()] {
          return MakeOpenAiChat(backend, provider, model);
        };
        break;
      default:
        return InvalidField("teachers[" + config.id() + "]", "no backend", "local or openai_chat");
    }
    const absl::Status added =
        registry->Add({config.id(), config.provider(), config.channel(), config.model(),
                       config.account_class(), config.account_region(), *std::move(acquired_time),
                       config.has_price() ? std::optional(config.price()) : std::nullopt},
                      std::move(maker));
    if (!added.ok()) return InvalidField("teachers.id", config.id(), "distinct ids");
  }
  return registry;
}

}  // namespace retort::services
