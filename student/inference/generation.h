// What a caller asks of a language model and what comes back, for every engine that generates tokens.
#ifndef STUDENT_INFERENCE_GENERATION_H_
#define STUDENT_INFERENCE_GENERATION_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace retort::student {

// How tokens are drawn. Log-probabilities are reported at temperature 1 over the full vocabulary whatever is
// set here.
struct SamplingOptions {
  double temperature = 0.0;  // [0, 2]; 0 takes the most likely token, the lowest id on ties
  double top_p = 1.0;  // (0, 1]; the smallest set of most likely tokens that holds this mass; 1 keeps all
  uint64_t seed = 0;   // the same seed and prompt repeat bit for bit on one machine
  int32_t max_tokens = 128;  // 1 to 8192
  int32_t top_logprobs = 0;  // 0 to 64 alternatives per generated position
  std::vector<std::string>
      stop;  // at most 4 of 1 to 64 bytes; generation ends when the text holds one of them
};

inline constexpr int32_t kMaxGeneratedTokens = 8192;
inline constexpr int32_t kMaxTopLogprobs = 64;

// InvalidArgument naming the option, the value seen and the range wanted; OK when every option is within its
// range.
absl::Status ValidateSamplingOptions(const SamplingOptions& options);

enum class FinishReason {
  kStop,    // an end token or a stop string
  kLength,  // max_tokens, or the context is full
};
// "stop" or "length".
std::string_view FinishReasonName(FinishReason reason);

// One finished sequence.
struct Generation {
  std::vector<int32_t> ids;      // generated, in order; the last may be an end token
  std::vector<float> logprobs;   // [ids] natural log-probability of each id, full vocabulary, temperature 1
  int32_t k = 0;                 // alternatives per position
  std::vector<int32_t> top_ids;  // [ids, k], most likely first, lowest id first on ties
  std::vector<float> top_logprobs;  // [ids, k]
  std::vector<float>
      tail_logprobs;  // [ids] log of the mass outside the k; -infinity for none; empty when k is 0
  std::string text;   // UTF-8, without end tokens, cut before the stop string that ended it
  FinishReason finish_reason = FinishReason::kLength;
  int32_t prompt_tokens = 0;
};

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_GENERATION_H_
