#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/reduce.cuh"
#include "student/device/cuda/rows.cuh"
#include "student/ops/router.h"

namespace retort::student {
namespace {

// All kernels over tokens: one warp per token; lane i has experts i, i + 32, …, so that a row is read by
// neighbouring lanes. What a warp needs again lies in its part of shared memory.

// A warp marks the `count` best of ranks[0, n) by setting them to 0; the lower index wins a tie. count <= n,
// and no rank is 0 before.
__device__ inline void TakeLargest(std::uint32_t* ranks, int n, int count) {
  const int lane = LaneOfWarp();
  for (int round = 0; round < count; ++round) {
    unsigned long long best = 0;
    for (int i = lane; i < n; i += kWarp) {
      const unsigned long long own = Ranked(ranks[i], i);
      best = own > best ? own : best;
    }
    const int winner = RankedIndex(WarpMax(best));
    if (lane == winner % kWarp) ranks[winner] = 0;
    __syncwarp();
  }
}

// Sum of the two largest values of a group, or its only one.
__device__ inline float GroupScore(const float* choice, int size) {
  float first = choice[0];
  if (size == 1) return first;
  float second = choice[1];
  if (second > first) {
    first = choice[1];
    second = choice[0];
  }
  for (int i = 2; i < size; ++i) {
    if (choice[i] > first) {
      second = first;
      first = choice[i];
    } else if (choice[i] > second) {
      second = choice[i];
    }
  }
  return first + second;
}

// Shared memory of a warp: ranks [E], then choices [E], whose place chosen scores [K] take later.
__global__ void RouteKernel(RouterShape shape, const float* logits, const float* bias, std::int64_t rows,
                            float* scores, std::int32_t* chosen, float* weights) {
  RETORT_DYNAMIC_SHARED(float, shared);
  const std::int64_t t = RowOfWarp();
  const int lane = LaneOfWarp(), experts = shape.experts;
  if (t >= rows) return;
  float* const own = shared + static_cast<int>(threadIdx.x) / kWarp * 2 * experts;
  std::uint32_t* const ranks = reinterpret_cast<std::uint32_t*>(own);
  float* const choice = own + experts;
  for (int e = lane; e < experts; e += kWarp) {
    const float score = 1 / (1 + expf(-logits[t * experts + e]));
    scores[t * experts + e] = score;
    choice[e] = score + bias[e];
  }
  __syncwarp();
  if (shape.groups_per_token < shape.groups) {
    const int size = experts / shape.groups;
    for (int g = lane; g < shape.groups; g += kWarp) ranks[g] = Rank(GroupScore(choice + g * size, size));
    __syncwarp();
    TakeLargest(ranks, shape.groups, shape.groups_per_token);
    for (int e = lane; e < experts; e += kWarp) {
      if (ranks[e / size] != 0) choice[e] = -INFINITY;
    }
    __syncwarp();
  }
  for (int e = lane; e < experts; e += kWarp) ranks[e] = Rank(choice[e]);
  __syncwarp();
  TakeLargest(ranks, experts, shape.per_token);

  float* const picked = choice;
  int listed = 0;
  for (int base = 0; base < experts; base += kWarp) {
    const int e = base + lane;
    const bool taken = e < experts && ranks[e] == 0;
    const unsigned mask = __ballot_sync(kAllLanes, taken);
    if (taken) {
      const int k = listed + __popc(mask & ((1u << lane) - 1));
      chosen[t * shape.per_token + k] = e;
      picked[k] = scores[t * experts + e];  // this lane wrote it
    }
    listed += __popc(mask);
  }
  __syncwarp();
  float sum = 0;
  for (int k = 0; k < shape.per_token; ++k) sum += picked[k];
  for (int k = lane; k < shape.per_token; k += kWarp) {
    float weight = picked[k];
    if (shape.normalise) weight /= sum + 1e-20f;
    weights[t * shape.per_token + k] = weight * shape.scaling;
  }
}

__global__ void RouteBackwardKernel(RouterShape shape, const float* scores, const std::int32_t* chosen,
                                    const float* d_weights, std::int64_t rows, float* d_logits) {
  const std::int64_t t = RowOfWarp();
  const int lane = LaneOfWarp(), experts = shape.experts, per_token = shape.per_token;
  if (t >= rows) return;
  const float* const s = scores + t * experts;
  const std::int32_t* const own = chosen + t * per_token;
  const float* const d = d_weights + t * per_token;
  for (int e = lane; e < experts; e += kWarp) d_logits[t * experts + e] = 0;
  float sum = 0, mean = 0;
  for (int k = 0; k < per_token; ++k) sum += s[own[k]];
  sum += 1e-20f;
  for (int k = 0; k < per_token; ++k) mean += d[k] * s[own[k]] / sum;
  __syncwarp();
  for (int k = lane; k < per_token; k += kWarp) {
    const float score = s[own[k]];
    const float d_score = shape.normalise ? shape.scaling / sum * (d[k] - mean) : shape.scaling * d[k];
    d_logits[t * experts + own[k]] = d_score * score * (1 - score);
  }
}

// Balance loss, per token: the sum of its scores and which experts are among the K largest, as bits.
__global__ void BalanceTokens(RouterShape shape, const float* scores, std::int64_t rows, double* sums,
                              std::uint32_t* marks) {
  RETORT_DYNAMIC_SHARED(std::uint32_t, shared);
  const std::int64_t t = RowOfWarp();
  const int lane = LaneOfWarp(), experts = shape.experts, words = (experts + kWarp - 1) / kWarp;
  if (t >= rows) return;
  std::uint32_t* const ranks = shared + static_cast<int>(threadIdx.x) / kWarp * experts;
  double sum = 0;
  for (int e = lane; e < experts; e += kWarp) {
    const float score = scores[t * experts + e];
    ranks[e] = Rank(score);
    sum += score;
  }
  sum = WarpSum(sum);
  if (lane == 0) sums[t] = sum;
  __syncwarp();
  TakeLargest(ranks, experts, shape.per_token);
  for (int word = 0; word < words; ++word) {
    const int e = word * kWarp + lane;
    const unsigned mask = __ballot_sync(kAllLanes, e < experts && ranks[e] == 0);
    if (lane == 0) marks[t * words + word] = mask;
  }
}

// Per document and 32 experts: block (document, experts / 32), thread (expert, every eighth token).
constexpr int kBalanceLanes = 8;
__global__ void BalanceDocuments(RouterShape shape, const float* scores, const std::int32_t* document_starts,
                                 const double* sums, const std::uint32_t* marks, double* fractions,
                                 double* terms) {
  __shared__ double means[kBalanceLanes][kWarp];
  __shared__ std::int32_t counts[kBalanceLanes][kWarp];
  const int document = static_cast<int>(blockIdx.x), word = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % kWarp, part = static_cast<int>(threadIdx.x) / kWarp;
  const int experts = shape.experts, words = (experts + kWarp - 1) / kWarp, e = word * kWarp + lane;
  const std::int64_t first = document_starts[document], last = document_starts[document + 1];
  double mean = 0;
  std::int32_t count = 0;
  for (std::int64_t t = first + part; t < last && e < experts; t += kBalanceLanes) {
    mean += scores[t * experts + e] / sums[t];
    count += static_cast<std::int32_t>(marks[t * words + word] >> lane & 1u);
  }
  means[part][lane] = mean;
  counts[part][lane] = count;
  __syncthreads();
  if (part > 0 || e >= experts) return;
  for (int i = 1; i < kBalanceLanes; ++i) {
    mean += means[i][lane];
    count += counts[i][lane];
  }
  const double tokens = static_cast<double>(last - first);
  const double fraction = count * (experts / (shape.per_token * tokens));
  fractions[static_cast<std::int64_t>(document) * experts + e] = fraction;
  terms[static_cast<std::int64_t>(document) * experts + e] = fraction * mean / tokens;
}

// One block: each thread adds up the terms of a document, then thread 0 the documents, in order.
constexpr int kBalanceThreads = 256;
__global__ void SumBalance(int experts, const std::int32_t* document_starts, int documents, double alpha,
                           const double* terms, BalanceSums* sums) {
  __shared__ double losses[kBalanceThreads];
  BalanceSums total = {};
  for (int base = 0; base < documents; base += kBalanceThreads) {
    const int own = base + static_cast<int>(threadIdx.x);
    double loss = 0;
    if (own < documents) {
      for (int e = 0; e < experts; ++e) loss += terms[static_cast<std::int64_t>(own) * experts + e];
    }
    losses[threadIdx.x] = alpha * loss;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int d = base; d < documents && d < base + kBalanceThreads; ++d) {
        total.loss += losses[d - base];
        total.token_loss += losses[d - base] * (document_starts[d + 1] - document_starts[d]);
      }
    }
    __syncthreads();
  }
  if (threadIdx.x != 0) return;
  sums->loss += total.loss;
  sums->token_loss += total.token_loss;
}

// Index of the document that holds row t.
__device__ inline int DocumentOf(const std::int32_t* document_starts, int documents, std::int64_t t) {
  int low = 0, high = documents;  // document_starts[low] <= t < document_starts[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (document_starts[middle] <= t) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

__global__ void BalanceGradient(RouterShape shape, const float* scores, std::int64_t rows,
                                const std::int32_t* document_starts, int documents, double alpha,
                                const double* factor, const double* sums, const double* fractions,
                                float* d_logits) {
  const std::int64_t t = RowOfWarp();
  const int lane = LaneOfWarp(), experts = shape.experts;
  if (t >= rows) return;
  const int document = DocumentOf(document_starts, documents, t);
  const double* const f = fractions + static_cast<std::int64_t>(document) * experts;
  const float* const s = scores + t * experts;
  double average = 0;
  for (int e = lane; e < experts; e += kWarp) average += f[e] * s[e] / sums[t];
  average = WarpSum(average);
  // alpha * factor * tokens, over the tokens of the mean.
  const double weight = alpha * *factor / sums[t];
  for (int e = lane; e < experts; e += kWarp) {
    const double d_score = weight * (f[e] - average);
    d_logits[t * experts + e] += static_cast<float>(d_score * s[e] * (1.0 - s[e]));
  }
}

// Working memory of BalanceLoss: three arrays of fp64, then the marks.
struct BalanceMemory {
  double *sums, *fractions, *terms;  // [rows], [documents, E], [documents, E]
  std::uint32_t* marks;              // [rows, words]
};
std::int64_t BalanceWords(const RouterShape& shape) {
  return (shape.experts + kWarp - 1) / kWarp;
}
BalanceMemory CutBalanceMemory(const RouterShape& shape, std::int64_t rows, int documents, void* workspace) {
  const std::int64_t values = static_cast<std::int64_t>(documents) * shape.experts;
  double* const sums = static_cast<double*>(workspace);
  return {sums, sums + rows, sums + rows + values,
          reinterpret_cast<std::uint32_t*>(sums + rows + 2 * values)};
}

}  // namespace

void Route(Stream stream, const RouterShape& shape, const float* logits, const float* bias, std::int64_t rows,
           float* scores, std::int32_t* chosen, float* weights) {
  if (rows == 0) return;
  RETORT_LAUNCH(RouteKernel, WarpBlocks(rows), kRowWarps * kWarp,
                kRowWarps * 2 * shape.experts * sizeof(float), stream, shape, logits, bias, rows, scores,
                chosen, weights);
}

void RouteBackward(Stream stream, const RouterShape& shape, const float* scores, const std::int32_t* chosen,
                   const float* d_weights, std::int64_t rows, float* d_logits) {
  if (rows == 0) return;
  RETORT_LAUNCH(RouteBackwardKernel, WarpBlocks(rows), kRowWarps * kWarp, 0, stream, shape, scores, chosen,
                d_weights, rows, d_logits);
}

std::size_t BalanceLossWorkspace(const RouterShape& shape, std::int64_t rows, int documents) {
  return (rows + 2 * static_cast<std::int64_t>(documents) * shape.experts) * sizeof(double) +
         rows * BalanceWords(shape) * sizeof(std::uint32_t);
}

void BalanceLoss(Stream stream, const RouterShape& shape, const float* scores, std::int64_t rows,
                 const std::int32_t* document_starts, int documents, double alpha, const double* factor,
                 float* d_logits, BalanceSums* sums, void* workspace) {
  if (rows == 0) return;
  const BalanceMemory memory = CutBalanceMemory(shape, rows, documents, workspace);
  const unsigned words = static_cast<unsigned>(BalanceWords(shape));
  RETORT_LAUNCH(BalanceTokens, WarpBlocks(rows), kRowWarps * kWarp,
                kRowWarps * shape.experts * sizeof(std::uint32_t), stream, shape, scores, rows, memory.sums,
                memory.marks);
  RETORT_LAUNCH(BalanceDocuments, dim3(static_cast<unsigned>(documents), words), kBalanceLanes * kWarp, 0,
                stream, shape, scores, document_starts, memory.sums, memory.marks, memory.fractions,
                memory.terms);
  RETORT_LAUNCH(SumBalance, 1, kBalanceThreads, 0, stream, shape.experts, document_starts, documents, alpha,
                memory.terms, sums);
  if (d_logits == nullptr) return;
  RETORT_LAUNCH(BalanceGradient, WarpBlocks(rows), kRowWarps * kWarp, 0, stream, shape, scores, rows,
                document_starts, documents, alpha, factor, memory.sums, memory.fractions, d_logits);
}

}  // namespace retort::student
