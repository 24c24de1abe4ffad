// Draws a token from one row of logits and measures its log-probabilities. Shared by every engine.
//
// All functions are pure: the same logits, options and position give the same bits on any thread, beside any
// other sequence. Logits must be finite (asserted); a row has at least 1 and at most 2^20 of them.
#ifndef STUDENT_INFERENCE_SAMPLER_H_
#define STUDENT_INFERENCE_SAMPLER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "student/inference/generation.h"

namespace retort::student {

// Uniform numbers in [0, 1) that depend on (seed, counter) only: Philox4x32-10 (Salmon et al., SC 2011) with
// the seed as key and the counter as counter, 53 bits of the first two words.
double UniformAt(uint64_t seed, uint64_t counter);
// The block function itself, for its published vectors: four words in place.
void Philox4x32(uint32_t counter[4], const uint32_t key[2]);

// log(sum(exp(logits))), in fp32 per term, accumulated in fp64 in a fixed order.
double LogSumExp(std::span<const float> logits);

// Index of the largest logit, the lowest on ties.
int32_t ArgMax(std::span<const float> logits);

// The token for generated position `position` (from 0): the largest logit at temperature 0, otherwise a draw
// from softmax(logits / temperature) restricted to the top_p nucleus, with UniformAt(seed, position).
int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options, uint64_t position);

// The `k` largest logits' indices (k <= logits.size()) and log-probabilities, largest first, lowest id first
// on ties, with the log of the mass outside them (-infinity when k is the whole row).
struct TopLogprobs {
  std::vector<int32_t> ids;
  std::vector<float> logprobs;
  float tail_logprob = 0;
};
TopLogprobs ComputeTopLogprobs(std::span<const float> logits, int32_t k, double log_sum_exp);

// One step of a generation: samples a token at position generation.ids.size(), appends it and its
// log-probabilities to `generation` and returns it. Internal when a logit is not finite: the model is
// unusable.
absl::StatusOr<int32_t> AppendSampled(std::span<const float> logits, const SamplingOptions& options,
                                      Generation& generation);

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_SAMPLER_H_
