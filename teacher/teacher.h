// The seam between Retort and a model that teaches: one question in, one answer with its evidence out.
//
// Implementations: teacher::OpenAiChatTeacher (openai_chat_teacher.h) for HTTP endpoints that speak the
// OpenAI chat format, teacher::LocalTeacher (local/local_teacher.h) for a GGUF file on this machine, and
// fakes in tests. A teacher decides nothing about what the answer may be used for; services/teacher signs
// what it returns and policy judges it.
//
//   retort::teacher::CompletionRequest request;
//   request.messages = {{"user", "Why is the sky blue?"}};
//   request.sampling.max_tokens = 64;
//   auto answer = teacher.Complete(request, {.deadline = std::chrono::steady_clock::now() +
//   std::chrono::seconds(30)});
//
// Threads: Complete may be called from many threads at once. Requests and answers are plain values.
#ifndef TEACHER_TEACHER_H_
#define TEACHER_TEACHER_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort::teacher {

// One turn of a conversation.
struct Turn {
  std::string role;     // system, user or assistant
  std::string content;  // UTF-8
};

// How the teacher samples. Every field is always sent, so that no default of the other side decides. Ranges
// are those of retort.teacher.v1.Sampling; ValidateRequest checks them.
struct Sampling {
  double temperature = 0;         // 0 takes the most likely token; at most 2
  double top_p = 1;               // (0, 1]
  uint64_t seed = 0;              // at most 2^53 - 1
  int32_t max_tokens = 0;         // 1 to 8192
  int32_t top_logprobs = 0;       // alternatives per position, 0 to 64
  std::vector<std::string> stop;  // at most 4, each 1 to 64 bytes
};

struct CompletionRequest {
  std::vector<Turn> messages;  // 1 to 64, at most 256 KiB of text
  Sampling sampling;
  std::string
      request_id;  // optional; a remote teacher gets it as the idempotency key of all attempts of this call
};

// When to give up. Both are looked at while waiting, at least ten times per second.
struct CallLimits {
  // After this the call ends with DeadlineExceeded. The default never comes.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
  // Optional. Called from the calling thread and from threads of the teacher, so it must be thread-safe and
  // must not block; once it returns true the call ends with Cancelled.
  std::function<bool()> cancelled;
};

enum class FinishReason : uint8_t {
  kStop,           // the model ended its turn, or a stop string was met
  kLength,         // max_tokens, or the end of the model's context
  kContentFilter,  // the teacher, or a filter before it, refused; the refusal is not in the text
};
// "stop", "length", "content_filter", as capture statements spell them.
const char* FinishReasonName(FinishReason reason);

// Token ids and log-probabilities, when the teacher's tokenizer is known. Mirrors
// retort.teacher.v1.TokenTrace: arrays over positions have one row per completion id; [positions, k] arrays
// are flattened row by row, most likely first. All log-probabilities are natural, over the full vocabulary,
// at temperature 1.
struct TokenTrace {
  std::array<uint8_t, 32> tokenizer_sha256{};
  uint32_t vocabulary_size = 0;
  std::vector<uint32_t> prompt_ids;      // chat template included
  std::vector<uint32_t> completion_ids;  // the last may be the end-of-turn token
  std::vector<float> completion_logprobs;
  uint32_t k = 0;
  std::vector<uint32_t> top_ids;     // [positions, k]
  std::vector<float> top_logprobs;   // [positions, k]
  std::vector<float> tail_logprobs;  // [positions], log of the mass outside the k; -infinity for none
};

// One token as a remote teacher names it: by its bytes.
struct TextAlternative {
  std::string token;  // exact bytes; may be a part of a UTF-8 sequence
  float logprob = 0;  // natural; -infinity when the teacher did not say (its sentinel -9999, or null)
};

// One generated position of a remote teacher.
struct TextPosition {
  TextAlternative chosen;
  std::vector<TextAlternative> top;  // most likely first; only those that the teacher gave a value for
};

// An answer with its evidence.
struct Completion {
  std::string text;  // valid UTF-8; what the model said, without special tokens and without any refusal
  FinishReason finish_reason = FinishReason::kStop;
  std::string model_answered;  // as the answer names it: it may differ from the model that was asked for
  std::string response_id;     // the provider's id of the answer; may be empty
  std::string raw_request;     // exact bytes of the HTTP body sent; no credentials; empty for a local teacher
  std::string raw_response;    // exact bytes of the HTTP body received; empty for a local teacher
  int64_t prompt_tokens = 0;   // as the teacher counted; 0 when it did not say
  int64_t completion_tokens = 0;        // as the teacher counted; 0 when it did not say
  int32_t http_status = 0;              // 0 for a local teacher
  int32_t transport_retries = 0;        // HTTP attempts before this answer, within this call
  std::optional<TokenTrace> trace;      // only when the tokenizer is known
  std::vector<TextPosition> positions;  // only when it is not, and log-probabilities were asked for and given
};

// What a teacher is, as far as it can tell by itself. Fixed for its life.
struct TeacherIdentity {
  std::string endpoint;          // "local", or scheme://host[:port]
  std::string weights_sha256;    // lower-case hex of the weights file; empty for a remote teacher
  std::string tokenizer_sha256;  // lower-case hex, equal to that of every trace; empty when unknown
  int32_t top_logprobs_max = 0;  // alternatives per position that it can report
};

class Teacher {
 public:
  virtual ~Teacher() = default;

  // Asks once and returns the whole answer. A refusal by the model is an answer (kContentFilter), not an
  // error. Errors:
  //   InvalidArgument    the request breaks a limit above, asks for more alternatives than identity() allows,
  //   or the
  //                      endpoint refused it (400, 404, 413, 422, any other 4xx); asking again gives the same
  //   Unauthenticated    the endpoint refused the key (401, 403); every call will fail until the operator
  //   acts ResourceExhausted  a rate limit (429) outlasted the retries; or money ran out (402, or 429 that
  //   says so), which is
  //                      never retried
  //   DeadlineExceeded   no answer in time: limits.deadline passed, or the HTTP timeout struck on every
  //   attempt; the
  //                      teacher may have worked, and billed
  //   Unavailable        cannot connect, 408, 409, 425, 5xx, or a connection that broke, until attempts ran
  //   out Unknown            the answer came whole but cannot be read (not JSON, no choices, wrong types), or
  //   is larger than
  //                      the bound. Not asked again here: it was probably billed
  //   FailedPrecondition the operator must change something first: supply the key or the model file, trust
  //   the endpoint's
  //                      certificate, or name the address that it redirects to
  //   Cancelled          limits.cancelled said so
  // Messages never hold the key, a prompt or a completion.
  virtual absl::StatusOr<Completion> Complete(const CompletionRequest& request, const CallLimits& limits) = 0;

  virtual const TeacherIdentity& identity() const = 0;
};

// OK when `request` keeps the limits stated at CompletionRequest and Sampling, else InvalidArgument naming
// the field, the value seen and the bound. Roles and UTF-8 are checked as well. Pure.
absl::Status ValidateRequest(const CompletionRequest& request);

}  // namespace retort::teacher

#endif  // TEACHER_TEACHER_H_
