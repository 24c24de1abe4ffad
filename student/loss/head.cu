#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/reduce.cuh"
#include "student/device/cuda/values.cuh"
#include "student/loss/head.h"

namespace retort::student {
namespace {

constexpr int kThreads = 256;

// Largest of the logits that a thread has seen, the sum of exponentials against it, and, ranked, the best of
// them.
struct Running {
  float best, sum;
  unsigned long long ranked;
};

__device__ inline Running SeeLogits(const float* z, int vocabulary) {
  Running seen = {-INFINITY, 0.0f, 0};
  for (int j = static_cast<int>(threadIdx.x); j < vocabulary; j += kThreads) {
    const float value = z[j];
    if (value > seen.best) {
      seen.sum = seen.sum * expf(seen.best - value) + 1.0f;
      seen.best = value;
    } else if (value != -INFINITY) {
      seen.sum += expf(value - seen.best);  // NaN comes here, and stays
    }
    const unsigned long long ranked = Ranked(Rank(value), j);
    if (ranked > seen.ranked) seen.ranked = ranked;
  }
  return seen;
}

// The teacher's entries of a row.
struct Entries {
  int count;
  const std::int32_t* ids;
  const float* logprobs;
  double tail_probability;
  float tail_logprob;
};

__device__ inline Entries EntriesOf(const DeviceTargets& targets, std::int64_t t) {
  const int count = targets.teacher_k == 0 ? 0 : targets.teacher_counts[t];
  if (count == 0) return {0, nullptr, nullptr, 0.0, -INFINITY};
  const float tail = targets.teacher_tail_logprobs[t];
  return {count, targets.teacher_ids + t * targets.teacher_k,
          targets.teacher_logprobs + t * targets.teacher_k, exp(static_cast<double>(tail)), tail};
}

// One block per row, threads over the vocabulary. The teacher's tokens are taken out of the row (set to
// -infinity), what remains is the tail; docs/kernels/tail_bucket_kl.md has the mathematics. The row is read
// twice and the gradient written once.
template <typename T>
__global__ void __launch_bounds__(kThreads, 3)
    HeadLossKernel(float* logits, int vocabulary, DeviceTargets targets, const std::int32_t* rows,
                   float ce_weight, const double* factor, T* d_logits, DeviceTokenLosses losses,
                   float* stored_logits) {
  __shared__ float float_warps[kWarp];
  __shared__ double double_warps[kWarp];
  __shared__ unsigned long long ranked_warps[kWarp];
  const std::int64_t row = blockIdx.x, t = rows[row];
  const int thread = static_cast<int>(threadIdx.x);
  float* const z = logits + row * vocabulary;
  const Entries entries = EntriesOf(targets, t);
  float* const stored = stored_logits + row * targets.teacher_k;
  const std::int32_t target = targets.targets[t];
  const float target_logit = z[target];
  for (int i = thread; i < entries.count; i += kThreads) stored[i] = z[entries.ids[i]];
  __syncthreads();
  for (int i = thread; i < entries.count; i += kThreads) z[entries.ids[i]] = -INFINITY;
  __syncthreads();

  Running seen = SeeLogits(z, vocabulary);
  const float tail_best = BlockMax(seen.best, float_warps);
  // A thread that saw nothing has sum 0 and best -infinity.
  const float own_sum = seen.sum == 0 ? 0.0f : seen.sum * expf(seen.best - tail_best);
  const float tail_sum = BlockSum(own_sum, float_warps);
  // Not finite only with logits that are not, or with a tail that holds nothing.
  const double tail_lse = tail_sum == 0 ? -INFINITY : tail_best + log(static_cast<double>(tail_sum));

  double stored_best = tail_lse;
  for (int i = thread; i < entries.count; i += kThreads) {
    stored_best = fmax(stored_best, static_cast<double>(stored[i]));
    const unsigned long long ranked = Ranked(Rank(stored[i]), entries.ids[i]);
    if (ranked > seen.ranked) seen.ranked = ranked;
  }
  stored_best = BlockMax(stored_best, double_warps);
  double exponentials = thread == 0 ? exp(tail_lse - stored_best) : 0.0;
  for (int i = thread; i < entries.count; i += kThreads) exponentials += exp(stored[i] - stored_best);
  const double lse = stored_best + log(BlockSum(exponentials, double_warps));
  if (losses.argmax != nullptr) {
    const unsigned long long ranked = BlockMax(seen.ranked, ranked_warps);
    if (thread == 0) losses.argmax[row] = RankedIndex(ranked);
  }

  double divergence = 0;
  for (int i = thread; i < entries.count; i += kThreads) {
    const double log_q = entries.logprobs[i], q = exp(log_q);
    if (q > 0) divergence += q * (log_q - (stored[i] - lse));
  }
  divergence = BlockSum(divergence, double_warps);
  if (entries.tail_probability > 0)
    divergence += entries.tail_probability * (entries.tail_logprob - (tail_lse - lse));
  if (thread == 0) {
    losses.cross_entropy[row] = lse - target_logit;
    losses.divergence[row] = divergence;
  }
  if (d_logits == nullptr) return;

  const double a = entries.count > 0 ? ce_weight : 1.0, weight = *factor * targets.weights[t];
  const double tail_weight = weight * (exp(tail_lse - lse) - (1 - a) * entries.tail_probability);
  const float tail_factor =
      tail_sum == 0 ? 0.0f : static_cast<float>(tail_weight * exp(tail_best - tail_lse));
  T* const d_z = d_logits + row * vocabulary;
  for (int j = thread; j < vocabulary; j += kThreads) {
    const float value = z[j];
    Round(value == -INFINITY ? 0.0f : expf(value - tail_best) * tail_factor, d_z + j);
  }
  __syncthreads();
  bool target_is_stored = false;
  for (int i = thread; i < entries.count; i += kThreads) {
    const bool is_target = entries.ids[i] == target;
    target_is_stored |= is_target;
    const double gradient = exp(stored[i] - lse) - (1 - a) * exp(static_cast<double>(entries.logprobs[i])) -
                            (is_target ? a : 0.0);
    Round(static_cast<float>(weight * gradient), d_z + entries.ids[i]);
  }
  if (__syncthreads_or(target_is_stored) == 0 && thread == 0) {
    const float tail_share = target_logit == -INFINITY ? 0.0f : expf(target_logit - tail_best) * tail_factor;
    Round(tail_share - static_cast<float>(weight * a), d_z + target);
  }
}

// One block; each thread adds every 256th row, then the threads over a tree.
__global__ void SumHeadLossesKernel(DeviceTargets targets, const std::int32_t* rows, std::int64_t count,
                                    float ce_weight, DeviceTokenLosses losses, HeadSums* sums) {
  __shared__ double warps[kWarp];
  HeadSums own = {};
  for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
    const std::int32_t t = rows[i];
    const double weight = targets.weights[t], a = ce_weight;
    const bool has_teacher = targets.teacher_k > 0 && targets.teacher_counts[t] > 0;
    const double ce = losses.cross_entropy[i], kl = losses.divergence[i];
    own.valid_tokens += weight;
    own.teacher_tokens += has_teacher ? weight : 0.0;
    own.ce_sum += weight * ce;
    own.kl_sum += weight * kl;
    own.mixed_sum += weight * (has_teacher ? a * ce + (1 - a) * kl : ce);
  }
  own.valid_tokens = BlockSum(own.valid_tokens, warps);
  own.teacher_tokens = BlockSum(own.teacher_tokens, warps);
  own.ce_sum = BlockSum(own.ce_sum, warps);
  own.kl_sum = BlockSum(own.kl_sum, warps);
  own.mixed_sum = BlockSum(own.mixed_sum, warps);
  if (threadIdx.x != 0) return;
  sums->valid_tokens += own.valid_tokens;
  sums->teacher_tokens += own.teacher_tokens;
  sums->ce_sum += own.ce_sum;
  sums->kl_sum += own.kl_sum;
  sums->mixed_sum += own.mixed_sum;
}

}  // namespace

std::int64_t HeadLossWorkspace(std::int64_t count, int teacher_k) {
  return count * teacher_k;
}

template <typename T>
void HeadLoss(Stream stream, float* logits, int vocabulary, const DeviceTargets& targets,
              const std::int32_t* rows, std::int64_t count, float ce_weight, const double* factor,
              T* d_logits, const DeviceTokenLosses& losses, float* workspace) {
  if (count == 0) return;
  RETORT_LAUNCH((HeadLossKernel<T>), count, kThreads, 0, stream, logits, vocabulary, targets, rows, ce_weight,
                factor, d_logits, losses, workspace);
}

void SumHeadLosses(Stream stream, const DeviceTargets& targets, const std::int32_t* rows, std::int64_t count,
                   float ce_weight, const DeviceTokenLosses& losses, HeadSums* sums) {
  if (count == 0) return;
  RETORT_LAUNCH(SumHeadLossesKernel, 1, kThreads, 0, stream, targets, rows, count, ce_weight, losses, sums);
}

template void HeadLoss(Stream, float*, int, const DeviceTargets&, const std::int32_t*, std::int64_t, float,
                       const double*, float*, const DeviceTokenLosses&, float*);
template void HeadLoss(Stream, float*, int, const DeviceTargets&, const std::int32_t*, std::int64_t, float,
                       const double*, Bf16*, const DeviceTokenLosses&, float*);

}  // namespace retort::student
