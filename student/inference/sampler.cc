#include "student/inference/sampler.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <string>

#include "student/inference/cpu_kernels.h"

namespace retort::student {
namespace {

// Logits looked at together: a group whose largest cannot enter the result is passed over.
constexpr size_t kGroup = 64;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

absl::Status Refuse(const std::string& option, const std::string& seen, const std::string& wanted) {
  return absl::InvalidArgumentError("sampling option " + option + " is " + seen + "; wanted " + wanted);
}

// Weights summed together: a draw passes over whole spans first.
constexpr size_t kSpan = 1024;

std::span<const float> SpanAt(std::span<const float> weights, size_t at) {
  return weights.subspan(at, std::min(kSpan, weights.size() - at));
}

// First index whose running sum of `weights` exceeds `target`.
int32_t WalkTo(std::span<const float> weights, double target) {
  const CpuKernels& kernels = BestCpuKernels();
  double passed = 0;
  int32_t last =
      0;  // rounding may carry the target past the end: then the last token of the last span with any weight
  for (size_t at = 0; at < weights.size(); at += kSpan) {
    const std::span<const float> span = SpanAt(weights, at);
    const double sum = kernels.sum(span.data(), span.size());
    if (passed + sum > target || at + kSpan >= weights.size()) {
      for (size_t i = 0; i < span.size(); ++i) {
        passed += span[i];
        if (span[i] > 0) last = static_cast<int32_t>(at + i);
        if (passed > target) return last;
      }
    } else {
      passed += sum;
    }
  }
  return last;
}

// A draw among the most likely tokens that together hold top_p. Only tokens with more than (1 - top_p) / V of
// the mass can be among them: the others together hold less than what may be left out.
int32_t DrawFromNucleus(std::span<const float> weights, double total, double top_p, double uniform) {
  const double least = (1 - top_p) * total / static_cast<double>(weights.size());
  std::vector<int32_t> candidates;
  const CpuKernels& kernels = BestCpuKernels();
  for (size_t at = 0; at < weights.size(); at += kGroup) {
    const size_t end = std::min(at + kGroup, weights.size());
    if (!(kernels.maximum(weights.data() + at, end - at) > least)) continue;
    for (size_t i = at; i < end; ++i) {
      if (weights[i] > least) candidates.push_back(static_cast<int32_t>(i));
    }
  }
  std::sort(candidates.begin(), candidates.end(), [weights](int32_t a, int32_t b) {
    return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
  });
  double mass = 0;
  size_t kept = 0;
  while (kept < candidates.size() && (kept == 0 || mass < top_p * total)) mass += weights[candidates[kept++]];
  double passed = 0;
  for (size_t i = 0; i < kept; ++i) {
    passed += weights[candidates[i]];
    if (passed > uniform * mass) return candidates[i];
  }
  return candidates[kept - 1];
}

// log(sum(exp)) of the logits that are not among `ids`, none of which exceeds `max`. Summed by itself: one
// minus the mass inside would leave nothing of a small tail but rounding.
double LogSumExpWithout(std::span<const float> logits, std::vector<int32_t> ids, float max) {
  const CpuKernels& kernels = BestCpuKernels();
  std::sort(ids.begin(), ids.end());
  std::array<float, 16 * kGroup> group;
  double sum = 0;
  size_t next = 0;
  for (size_t at = 0; at < logits.size(); at += group.size()) {
    const size_t count = std::min(group.size(), logits.size() - at);
    std::copy_n(logits.data() + at, count, group.data());
    for (; next < ids.size() && static_cast<size_t>(ids[next]) < at + count; ++next)
      group[ids[next] - at] = -kInfinity;
    sum += kernels.sum_exp(group.data(), count, max);
  }
  return max + std::log(sum);
}

}  // namespace

absl::Status ValidateSamplingOptions(const SamplingOptions& options) {
  if (!(options.temperature >= 0 && options.temperature <= 2)) {
    return Refuse("temperature", std::to_string(options.temperature), "0 to 2");
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    return Refuse("top_p", std::to_string(options.top_p), "above 0, at most 1");
  }
  if (options.max_tokens < 1 || options.max_tokens > kMaxGeneratedTokens) {
    return Refuse("max_tokens", std::to_string(options.max_tokens),
                  "1 to " + std::to_string(kMaxGeneratedTokens));
  }
  if (options.top_logprobs < 0 || options.top_logprobs > kMaxTopLogprobs) {
    return Refuse("top_logprobs", std::to_string(options.top_logprobs),
                  "0 to " + std::to_string(kMaxTopLogprobs));
  }
  if (options.stop.size() > 4)
    return Refuse("stop", std::to_string(options.stop.size()) + " strings", "at most 4");
  for (const std::string& stop : options.stop) {
    if (stop.empty() || stop.size() > 64) {
      return Refuse("stop", "a string of " + std::to_string(stop.size()) + " bytes", "1 to 64 bytes");
    }
  }
  return absl::OkStatus();
}

std::string_view FinishReasonName(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : "length";
}

void Philox4x32(uint32_t counter[4], const uint32_t key[2]) {
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xd2511f53ull * counter[0];
    const uint64_t p1 = 0xcd9e8d57ull * counter[2];
    const uint32_t next[4] = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(p1),
                              static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(p0)};
    std::copy_n(next, 4, counter);
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
}

double UniformAt(uint64_t seed, uint64_t counter) {
  uint32_t block[4] = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0};
  const uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  Philox4x32(block, key);
  const uint64_t bits = static_cast<uint64_t>(block[1]) << 32 | block[0];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

double LogSumExp(std::span<const float> logits) {
  assert(!logits.empty());
  const CpuKernels& kernels = BestCpuKernels();
  const float max = kernels.maximum(logits.data(), logits.size());
  return max + std::log(kernels.sum_exp(logits.data(), logits.size(), max));
}

int32_t ArgMax(std::span<const float> logits) {
  assert(!logits.empty());
  const float max = BestCpuKernels().maximum(logits.data(), logits.size());
  const auto it = std::find(logits.begin(), logits.end(), max);
  return static_cast<int32_t>(it - logits.begin());
}

int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options, uint64_t position) {
  if (options.temperature == 0) return ArgMax(logits);
  const CpuKernels& kernels = BestCpuKernels();
  const float max = kernels.maximum(logits.data(), logits.size());
  std::vector<float> weights(logits.size());
  // Beyond 1e6 the most likely token has all the weight that fp32 can show.
  const double sharpness = std::min(1 / options.temperature, 1e6);
  kernels.exp_scaled(logits.data(), logits.size(), max, static_cast<float>(sharpness), weights.data());
  double total = 0;
  for (size_t at = 0; at < weights.size(); at += kSpan) {
    const std::span<const float> span = SpanAt(weights, at);
    total += kernels.sum(span.data(), span.size());
  }
  const double uniform = UniformAt(options.seed, position);
  if (options.top_p < 1) return DrawFromNucleus(weights, total, options.top_p, uniform);
  return WalkTo(weights, uniform * total);
}

TopLogprobs ComputeTopLogprobs(std::span<const float> logits, int32_t k, double log_sum_exp) {
  assert(k >= 0 && static_cast<size_t>(k) <= logits.size());
  TopLogprobs top;
  if (k == 0) return top;
  struct Entry {
    float logit;
    int32_t id;
  };
  // Ordered so that the heap's front is the entry that leaves first: the smallest, the highest id on ties.
  const auto better = [](const Entry& a, const Entry& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };
  std::vector<Entry> heap;
  heap.reserve(k);
  const CpuKernels& kernels = BestCpuKernels();
  for (size_t at = 0; at < logits.size(); at += kGroup) {
    const size_t end = std::min(at + kGroup, logits.size());
    const bool full = heap.size() == static_cast<size_t>(k);
    if (full && !(kernels.maximum(logits.data() + at, end - at) > heap.front().logit)) continue;
    for (size_t i = at; i < end; ++i) {
      const Entry entry = {logits[i], static_cast<int32_t>(i)};
      if (heap.size() < static_cast<size_t>(k)) {
        heap.push_back(entry);
        std::push_heap(heap.begin(), heap.end(), better);
      } else if (entry.logit > heap.front().logit) {  // an equal one has a higher id and stays out
        std::pop_heap(heap.begin(), heap.end(), better);
        heap.back() = entry;
        std::push_heap(heap.begin(), heap.end(), better);
      }
    }
  }
  std::sort_heap(heap.begin(), heap.end(), better);
  for (const Entry& entry : heap) {
    top.ids.push_back(entry.id);
    top.logprobs.push_back(static_cast<float>(entry.logit - log_sum_exp));
  }
  top.tail_logprob =
      heap.size() == logits.size()
          ? -kInfinity
          : static_cast<float>(LogSumExpWithout(logits, top.ids, heap.back().logit) - log_sum_exp);
  return top;
}

absl::StatusOr<int32_t> AppendSampled(std::span<const float> logits, const SamplingOptions& options,
                                      Generation& generation) {
  const double log_sum_exp = LogSumExp(logits);
  if (!std::isfinite(log_sum_exp)) {
    return absl::InternalError("the model gave logits that are not finite; its weights are unusable");
  }
  const int32_t id = SampleToken(logits, options, generation.ids.size());
  generation.ids.push_back(id);
  generation.logprobs.push_back(static_cast<float>(logits[id] - log_sum_exp));
  generation.k = std::min(options.top_logprobs, static_cast<int32_t>(logits.size()));
  if (generation.k > 0) {
    const TopLogprobs top = ComputeTopLogprobs(logits, generation.k, log_sum_exp);
    generation.top_ids.insert(generation.top_ids.end(), top.ids.begin(), top.ids.end());
    generation.top_logprobs.insert(generation.top_logprobs.end(), top.logprobs.begin(), top.logprobs.end());
    generation.tail_logprobs.push_back(top.tail_logprob);
  }
  return id;
}

}  // namespace retort::student
