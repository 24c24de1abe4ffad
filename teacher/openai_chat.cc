#include "teacher/openai_chat.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

namespace retort::teacher {
namespace {

using Json = nlohmann::json;

constexpr int kDepthMax = 32;                // the format itself needs 7
constexpr size_t kNameBytesMax = 256;        // model and id become part of a signed statement
constexpr size_t kAlternativesMax = 64;      // per position, whatever was asked for
constexpr size_t kTokenBytesMax = 1024;      // the longest token of any tokenizer in use is below 300 bytes
constexpr double kMissingLogprob = -9999.0;  // "outside the alternatives", not a value
// Rounding may lift the log of a probability of 1 just above 0; more than this is not a log-probability.
constexpr double kLogprobSlack = 1e-3;

absl::Status Broken(const std::string& what) {
  return absl::UnknownError("the teacher's answer cannot be read: " + what);
}

// Depth of nesting without building anything: 16 MiB of brackets would otherwise become a gigabyte of
// objects.
bool IsShallow(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDepthMax) return false;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return true;
}

// The parsed body, or nullopt when it is not a JSON object of bounded depth. The parser refuses text that is
// not UTF-8.
std::optional<Json> ParseObject(std::string_view body) {
  if (!IsShallow(body)) return std::nullopt;
  Json json = Json::parse(body, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  return json;
}

// The member, or nullptr when it is absent or null: the format treats the two alike everywhere.
const Json* Find(const Json& object, const char* name) {
  const auto member = object.find(name);
  return member == object.end() || member->is_null() ? nullptr : &*member;
}

absl::StatusOr<std::string> ReadName(const Json& object, const char* name) {
  const Json* member = Find(object, name);
  if (member == nullptr) return std::string();
  if (!member->is_string()) return Broken(std::string(name) + " is not a string");
  auto text = member->get<std::string>();
  if (text.size() > kNameBytesMax) return Broken(std::string(name) + " has more than 256 bytes");
  return text;
}

absl::StatusOr<int64_t> ReadCount(const Json& usage, const char* name) {
  const Json* member = Find(usage, name);
  if (member == nullptr) return 0;
  if (!member->is_number_unsigned() || member->get<uint64_t>() > uint64_t{1} << 40) {
    return Broken(std::string("usage.") + name + " is not a count");
  }
  return static_cast<int64_t>(member->get<uint64_t>());
}

absl::StatusOr<FinishReason> ReadFinishReason(const Json& choice) {
  const Json* member = Find(choice, "finish_reason");
  if (member == nullptr || !member->is_string())
    return Broken("no finish_reason, so the answer is incomplete");
  const auto reason = member->get<std::string>();
  if (reason == "stop") return FinishReason::kStop;
  if (reason == "length") return FinishReason::kLength;
  if (reason == "content_filter") return FinishReason::kContentFilter;
  return Broken("finish_reason is none of stop, length, content_filter");
}

// One {token, logprob, bytes} object. A value that is missing reads as -infinity.
absl::StatusOr<TextAlternative> ReadAlternative(const Json& json) {
  if (!json.is_object()) return Broken("logprobs.content holds something that is not an object");
  TextAlternative alternative;
  const Json* token = Find(json, "token");
  if (token == nullptr || !token->is_string()) return Broken("a token of logprobs.content is not a string");
  if (const Json* bytes =
          Find(json, "bytes")) {  // exact, where `token` replaces the half of a character by U+FFFD
    if (!bytes->is_array()) return Broken("bytes of a token are not an array");
    for (const Json& byte : *bytes) {
      if (!byte.is_number_unsigned() || byte.get<uint64_t>() > 255)
        return Broken("bytes of a token are not 0 to 255");
      alternative.token.push_back(static_cast<char>(byte.get<uint64_t>()));
    }
  } else {
    alternative.token = token->get<std::string>();
  }
  if (alternative.token.size() > kTokenBytesMax) return Broken("a token has more than 1024 bytes");
  alternative.logprob = -std::numeric_limits<float>::infinity();
  if (const Json* logprob = Find(json, "logprob")) {
    if (!logprob->is_number()) return Broken("a logprob is not a number");
    const double value = logprob->get<double>();
    if (!(value <= kLogprobSlack)) return Broken("a logprob is above 0");
    if (value > kMissingLogprob) alternative.logprob = static_cast<float>(std::min(value, 0.0));
  }
  return alternative;
}

absl::StatusOr<TextPosition> ReadPosition(const Json& json) {
  auto chosen = ReadAlternative(json);
  if (!chosen.ok()) return chosen.status();
  TextPosition position;
  position.chosen = *std::move(chosen);
  const Json* top = Find(json, "top_logprobs");
  if (top == nullptr) return position;
  if (!top->is_array() || top->size() > kAlternativesMax)
    return Broken("top_logprobs is not a list of at most 64");
  for (const Json& entry : *top) {
    auto alternative = ReadAlternative(entry);
    if (!alternative.ok()) return alternative.status();
    if (std::isfinite(alternative->logprob)) position.top.push_back(*std::move(alternative));
  }
  std::stable_sort(position.top.begin(), position.top.end(),
                   [](const TextAlternative& a, const TextAlternative& b) { return a.logprob > b.logprob; });
  return position;
}

absl::StatusOr<std::vector<TextPosition>> ReadPositions(const Json& choice) {
  std::vector<TextPosition> positions;
  const Json* logprobs = Find(choice, "logprobs");
  if (logprobs == nullptr) return positions;
  if (!logprobs->is_object()) return Broken("logprobs is not an object");
  const Json* content = Find(*logprobs, "content");
  if (content == nullptr) return positions;
  if (!content->is_array()) return Broken("logprobs.content is not a list");
  for (const Json& entry : *content) {
    auto position = ReadPosition(entry);
    if (!position.ok()) return position.status();
    positions.push_back(*std::move(position));
  }
  return positions;
}

absl::Status ReadUsage(const Json& json, Completion& completion) {
  const Json* usage = Find(json, "usage");
  if (usage == nullptr) return absl::OkStatus();
  if (!usage->is_object()) return Broken("usage is not an object");
  auto prompt = ReadCount(*usage, "prompt_tokens");
  if (!prompt.ok()) return prompt.status();
  auto generated = ReadCount(*usage, "completion_tokens");
  if (!generated.ok()) return generated.status();
  completion.prompt_tokens = *prompt;
  completion.completion_tokens = *generated;
  return absl::OkStatus();
}

// Text and refusal of the one choice. A refusal is no part of the text: it is not what was asked for, and
// must not train.
absl::Status ReadMessage(const Json& choice, Completion& completion) {
  const Json* message = Find(choice, "message");
  if (message == nullptr || !message->is_object()) return Broken("the choice has no message");
  const Json* content = Find(*message, "content");
  const Json* refusal = Find(*message, "refusal");
  if (content != nullptr && !content->is_string()) return Broken("message.content is not a string");
  if (refusal != nullptr && !refusal->is_string()) return Broken("message.refusal is not a string");
  auto finish = ReadFinishReason(choice);
  if (!finish.ok()) return finish.status();
  completion.finish_reason = *finish;
  if (content != nullptr) completion.text = content->get<std::string>();
  if (refusal != nullptr && !refusal->get_ref<const std::string&>().empty()) {
    completion.finish_reason = FinishReason::kContentFilter;
  }
  if (content == nullptr && completion.finish_reason != FinishReason::kContentFilter) {
    return Broken("message.content is missing");
  }
  return absl::OkStatus();
}

// type and code of an error body, cut to plain characters: they are names that programs compare, never free
// text.
struct ErrorNames {
  std::string type, code;
  bool present = false;
};

std::string PlainName(const Json* json) {
  if (json == nullptr) return "";
  if (json->is_number_integer()) return json->dump();
  if (!json->is_string()) return "";
  std::string name;
  for (const char c : json->get_ref<const std::string&>()) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || c == '.';
    if (!plain || name.size() == 64) return "";
    name.push_back(c);
  }
  return name;
}

ErrorNames ReadErrorNames(std::string_view body) {
  ErrorNames names;
  const auto json = ParseObject(body);
  if (!json) return names;
  const Json* error = Find(*json, "error");
  if (error == nullptr) return names;
  names.present = true;  // also for a bare string
  if (!error->is_object()) return names;
  names.type = PlainName(Find(*error, "type"));
  names.code = PlainName(Find(*error, "code"));
  return names;
}

bool NamesAny(const ErrorNames& names, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [&names](std::string_view word) {
    return names.type.find(word) != std::string::npos || names.code.find(word) != std::string::npos;
  });
}

// Waiting does not bring money back.
bool IsMoney(int status, const ErrorNames& names) {
  return status == 402 || NamesAny(names, {"insufficient_quota", "credit_balance", "billing", "spend_limit",
                                           "insufficient_balance", "payment_required", "budget_exceeded"});
}

// The status that an error object under status 200 stands for; 200 when it does not say.
int StatusFromNames(const ErrorNames& names) {
  if (names.code.size() == 3 && names.code.find_first_not_of("0123456789") == std::string::npos) {
    const int status = std::stoi(names.code);
    if (status >= 400 && status <= 599) return status;
  }
  if (NamesAny(names, {"rate_limit", "too_many_requests"})) return 429;
  if (NamesAny(names, {"overloaded"})) return 529;
  if (NamesAny(names, {"invalid_api_key", "authentication", "permission", "unauthorized"})) return 401;
  if (NamesAny(names, {"server_error", "internal_error", "api_error", "unavailable"})) return 500;
  if (NamesAny(names, {"invalid_request", "not_found", "bad_request", "BadRequest"})) return 400;
  return 200;
}

std::string Describe(int status, const ErrorNames& names) {
  std::string text = "the teacher answered " + std::to_string(status);
  if (!names.type.empty()) text += ", type " + names.type;
  if (!names.code.empty()) text += ", code " + names.code;
  return text;
}

}  // namespace

std::string WriteChatRequest(ChatDialect dialect, std::string_view model, const CompletionRequest& request) {
  const Sampling& sampling = request.sampling;
  nlohmann::ordered_json body;
  body["model"] = model;
  body["messages"] = nlohmann::ordered_json::array();
  for (const Turn& turn : request.messages) {
    nlohmann::ordered_json message;
    message["role"] = turn.role;
    message["content"] = turn.content;
    body["messages"].push_back(std::move(message));
  }
  body["temperature"] = sampling.temperature;
  body["top_p"] = sampling.top_p;
  body["seed"] = sampling.seed;
  body[dialect == ChatDialect::kOpenAi ? "max_completion_tokens" : "max_tokens"] = sampling.max_tokens;
  body["n"] = 1;
  body["stream"] = false;
  body["logprobs"] = sampling.top_logprobs > 0;
  if (sampling.top_logprobs > 0) body["top_logprobs"] = sampling.top_logprobs;
  if (!sampling.stop.empty()) body["stop"] = sampling.stop;
  if (dialect == ChatDialect::kOpenAi)
    body["store"] = false;  // nothing of ours in the provider's own products
  return body.dump();
}

absl::StatusOr<Completion> ReadChatResponse(std::string_view body, int32_t top_logprobs) {
  const auto json = ParseObject(body);
  if (!json) return Broken("the body of " + std::to_string(body.size()) + " bytes is not a JSON object");
  if (Find(*json, "error") != nullptr) return ReadChatError(200, body).status;
  const Json* choices = Find(*json, "choices");
  if (choices == nullptr || !choices->is_array() || choices->size() != 1 || !choices->front().is_object()) {
    return Broken("choices is not a list of one object");
  }
  const Json& choice = choices->front();
  Completion completion;
  if (auto message = ReadMessage(choice, completion); !message.ok()) return message;
  auto model = ReadName(*json, "model");
  if (!model.ok()) return model.status();
  auto id = ReadName(*json, "id");
  if (!id.ok()) return id.status();
  completion.model_answered = *std::move(model);
  completion.response_id = *std::move(id);
  if (auto usage = ReadUsage(*json, completion); !usage.ok()) return usage;
  if (top_logprobs > 0) {
    auto positions = ReadPositions(choice);
    if (!positions.ok()) return positions.status();
    completion.positions = *std::move(positions);
  }
  return completion;
}

ChatError ReadChatError(int status, std::string_view body) {
  const ErrorNames names = ReadErrorNames(body);
  const std::string message = Describe(status, names);
  if (status >= 200 && status < 300) status = names.present ? StatusFromNames(names) : status;
  if (IsMoney(status, names)) {
    return {absl::ResourceExhaustedError(message + ": the account has no money or quota left"),
            RetryClass::kNever};
  }
  const RetryClass retry_class = ClassifyStatus(status);
  if (status == 401 || status == 403)
    return {absl::UnauthenticatedError(message + ": the key is refused"), retry_class};
  if (status == 429) return {absl::ResourceExhaustedError(message + ": too many requests"), retry_class};
  if (retry_class != RetryClass::kNever || status >= 500)
    return {absl::UnavailableError(message), retry_class};
  if (status >= 400) return {absl::InvalidArgumentError(message + ": the request is refused"), retry_class};
  if (status >= 300) {
    return {
        absl::FailedPreconditionError(message + ": a redirect, which is not followed; configure its target"),
        retry_class};
  }
  return {absl::UnknownError(message + ", with an error in place of an answer"), retry_class};
}

}  // namespace retort::teacher
