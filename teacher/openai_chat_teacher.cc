#include "teacher/openai_chat_teacher.h"

#include <algorithm>
#include <utility>

namespace retort::teacher {
namespace {

using std::chrono::milliseconds;

// What one attempt came to: an answer, or a failure with what it means for the next.
struct Attempt {
  absl::StatusOr<Completion> answer;
  RetryClass retry_class = RetryClass::kNever;
  std::optional<milliseconds> retry_after;
};

RetryClass ClassifyTransport(const absl::Status& failure) {
  return failure.code() == absl::StatusCode::kUnavailable ||
                 failure.code() == absl::StatusCode::kDeadlineExceeded
             ? RetryClass::kTransient
             : RetryClass::kNever;
}

std::optional<milliseconds> RetryAfter(const HttpResponse& response,
                                       std::chrono::system_clock::time_point wall_now) {
  if (const auto header =
          response.Header("retry-after-ms")) {  // some vendors send the finer form beside the plain one
    const bool digits =
        !header->empty() && header->size() <= 9 && header->find_first_not_of("0123456789") == header->npos;
    if (digits) return milliseconds(std::stol(std::string(*header)));
  }
  const auto header = response.Header("retry-after");
  return header ? ParseRetryAfter(*header, wall_now) : std::nullopt;
}

Attempt Failed(ChatError error, const HttpResponse& response,
               std::chrono::system_clock::time_point wall_now) {
  return {std::move(error.status), error.retry_class, RetryAfter(response, wall_now)};
}

Attempt Read(absl::StatusOr<HttpResponse> response, int32_t top_logprobs,
             std::chrono::system_clock::time_point wall_now) {
  if (!response.ok()) return {response.status(), ClassifyTransport(response.status()), std::nullopt};
  if (response->status < 200 || response->status > 299) {
    return Failed(ReadChatError(response->status, response->body), *response, wall_now);
  }
  auto answer = ReadChatResponse(response->body, top_logprobs);
  if (!answer.ok()) {
    // Only an error object under status 200 can be worth another attempt; a broken answer was probably
    // billed.
    if (answer.status().code() == absl::StatusCode::kUnknown)
      return {answer.status(), RetryClass::kNever, std::nullopt};
    return Failed(ReadChatError(response->status, response->body), *response, wall_now);
  }
  answer->http_status = response->status;
  answer->raw_response = std::move(response->body);
  return {std::move(answer), RetryClass::kNever, std::nullopt};
}

}  // namespace

absl::StatusOr<std::unique_ptr<OpenAiChatTeacher>> OpenAiChatTeacher::Create(OpenAiChatOptions options,
                                                                             std::optional<ApiKey> key,
                                                                             RetryEnvironment environment) {
  auto url = ParseEndpointUrl(options.base_url);
  if (!url.ok()) return url.status();
  // Visible ASCII, as every provider spells its models: the name becomes part of JSON bodies and signed
  // statements.
  const bool visible =
      std::all_of(options.model.begin(), options.model.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (options.model.empty() || options.model.size() > 256 || !visible) {
    return absl::InvalidArgumentError("model: saw " + std::to_string(options.model.size()) +
                                      " bytes, wanted 1 to 256 visible ASCII characters");
  }
  if (key && url->scheme == "http" && !url->IsLoopback()) {
    return absl::InvalidArgumentError("endpoint " + url->Origin() +
                                      ": saw http, wanted https, because a key is sent");
  }
  if (options.top_logprobs_max < 0 || options.top_logprobs_max > 64) {
    return absl::InvalidArgumentError("top_logprobs_max: saw " + std::to_string(options.top_logprobs_max) +
                                      ", wanted 0 to 64");
  }
  if (options.retry.attempts_max < 1) {
    return absl::InvalidArgumentError("attempts: saw " + std::to_string(options.retry.attempts_max) +
                                      ", wanted at least 1");
  }
  return std::unique_ptr<OpenAiChatTeacher>(
      new OpenAiChatTeacher(std::move(options), std::move(key), std::move(environment), *url));
}

OpenAiChatTeacher::OpenAiChatTeacher(OpenAiChatOptions options, std::optional<ApiKey> key,
                                     RetryEnvironment environment, const EndpointUrl& url)
    : options_(std::move(options)),
      key_(std::move(key)),
      environment_(std::move(environment)),
      url_(url.Origin() + url.path + "/chat/completions"),
      http_(options_.http) {
  identity_.endpoint = url.Origin();
  identity_.top_logprobs_max = options_.top_logprobs_max;
}

absl::StatusOr<Completion> OpenAiChatTeacher::Complete(const CompletionRequest& request,
                                                       const CallLimits& limits) {
  if (auto valid = ValidateRequest(request); !valid.ok()) return valid;
  if (request.sampling.top_logprobs > options_.top_logprobs_max) {
    return absl::InvalidArgumentError(
        "sampling.top_logprobs: saw " + std::to_string(request.sampling.top_logprobs) + ", wanted at most " +
        std::to_string(options_.top_logprobs_max) + ", which " + identity_.endpoint + " reports");
  }
  const std::string body = WriteChatRequest(options_.dialect, options_.model, request);
  HttpRequest http_request;
  http_request.url = url_;
  http_request.bearer = key_ ? key_->Reveal() : std::string_view();
  http_request.body = body;
  if (!request.request_id.empty()) http_request.headers.push_back({"Idempotency-Key", request.request_id});

  for (int attempt = 1;; ++attempt) {
    Attempt result =
        Read(http_.Post(http_request, limits), request.sampling.top_logprobs, environment_.wall_now());
    if (result.answer.ok()) {
      result.answer->raw_request = body;
      result.answer->transport_retries = attempt - 1;
      return std::move(result.answer);
    }
    const auto wait = NextWait(options_.retry, attempt, result.retry_class, result.retry_after,
                               result.answer.status(), limits, environment_.now(), environment_.chance());
    if (!wait.ok()) return wait.status();
    if (auto slept = environment_.sleep(*wait, limits); !slept.ok()) return slept;
  }
}

}  // namespace retort::teacher
