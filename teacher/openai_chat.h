// The OpenAI chat-completions format, as pure translations: a question to its JSON body, and an HTTP answer
// to a Completion or to an error with its retry class.
//
// The format is spoken by OpenAI and by vLLM, SGLang, llama-server, Ollama, DeepSeek and others, with
// differences that are handled here: usage may be missing, errors may be bare strings or come under status
// 200, token bytes may be null, -9999.0 and null stand for "no value". Streaming is not used: one body in,
// one body out, kept byte for byte.
//
// Functions are pure and safe on any thread. Every input byte is hostile.
#ifndef TEACHER_OPENAI_CHAT_H_
#define TEACHER_OPENAI_CHAT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "teacher/retry.h"
#include "teacher/teacher.h"

namespace retort::teacher {

// Where endpoints differ in what they accept.
enum class ChatDialect : uint8_t {
  kCompatible,  // max_tokens, which every compatible server knows
  kOpenAi,      // max_completion_tokens, because newer OpenAI models refuse max_tokens; and store: false
};

// The JSON body: model, messages, and every sampling field by name, in a fixed order, so that the same
// question is the same bytes. Asks for one choice, without streaming. `stop` is left out when there is none
// (absent means none everywhere), top_logprobs when it is 0 (it may not stand beside logprobs: false).
// Precondition: ValidateRequest(request) is OK.
std::string WriteChatRequest(ChatDialect dialect, std::string_view model, const CompletionRequest& request);

// Reads the body of a 200 answer. Fills text, finish_reason, model_answered, response_id, token counts and
// positions; leaves the raw bytes, status and retries to the caller. `top_logprobs` is what was asked for:
// with 0, log-probabilities that come unasked are ignored. Errors:
//   Unknown            not JSON, deeper than 32 levels, a member of another type than the format gives, not
//   exactly one
//                      choice, no finish_reason, a finish_reason that was not asked for (tool_calls) or is
//                      unknown, an id or model name over 256 bytes
//   the code of ReadChatError, when the body is an error object under status 200
absl::StatusOr<Completion> ReadChatResponse(std::string_view body, int32_t top_logprobs);

// A failed call, and what it means for the next attempt.
struct ChatError {
  absl::Status status;
  RetryClass retry_class = RetryClass::kNever;
};

// Explains an answer with a status other than 2xx, or (status 200) an error object in its place. The message
// has the status and the error's `type` and `code`, cut to 64 plain characters, and never its `message`,
// which may repeat the prompt or the key. Codes as teacher.h lists them; a 402, and a 429 whose type or code
// says that money ran out, is ResourceExhausted and never retried; a redirect is FailedPrecondition.
ChatError ReadChatError(int status, std::string_view body);

}  // namespace retort::teacher

#endif  // TEACHER_OPENAI_CHAT_H_
