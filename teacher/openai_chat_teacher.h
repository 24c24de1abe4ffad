// A teacher behind an HTTP endpoint that speaks the OpenAI chat format: translation (openai_chat.h),
// transport (http_client.h) and retries (retry.h) put together, and nothing else.
#ifndef TEACHER_OPENAI_CHAT_TEACHER_H_
#define TEACHER_OPENAI_CHAT_TEACHER_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "teacher/api_key.h"
#include "teacher/http_client.h"
#include "teacher/openai_chat.h"
#include "teacher/retry.h"
#include "teacher/teacher.h"

namespace retort::teacher {

struct OpenAiChatOptions {
  std::string base_url;  // for example https://api.openai.com/v1; "/chat/completions" is added
  std::string model;     // as the provider spells it
  ChatDialect dialect = ChatDialect::kCompatible;
  int32_t top_logprobs_max = 0;  // alternatives that the endpoint reports, 0 to 64
  HttpClientOptions http;
  RetryOptions retry;
};

// Thread-safe; calls share nothing but idle connections.
class OpenAiChatTeacher final : public Teacher {
 public:
  // `key` is absent for endpoints that want none. InvalidArgument when the URL cannot be used, the model is
  // empty, a bound is out of range, or the key would cross a network in clear (http to anything but
  // loopback).
  static absl::StatusOr<std::unique_ptr<OpenAiChatTeacher>> Create(
      OpenAiChatOptions options, std::optional<ApiKey> key,
      RetryEnvironment environment = RetryEnvironment::Real());

  absl::StatusOr<Completion> Complete(const CompletionRequest& request, const CallLimits& limits) override;
  const TeacherIdentity& identity() const override { return identity_; }

 private:
  OpenAiChatTeacher(OpenAiChatOptions options, std::optional<ApiKey> key, RetryEnvironment environment,
                    const EndpointUrl& url);

  const OpenAiChatOptions options_;
  const std::optional<ApiKey> key_;
  const RetryEnvironment environment_;
  const std::string url_;
  TeacherIdentity identity_;
  HttpClient http_;
};

}  // namespace retort::teacher

#endif  // TEACHER_OPENAI_CHAT_TEACHER_H_
