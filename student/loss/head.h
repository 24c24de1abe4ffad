// The output head and its loss in one: logits = x * w^T for the positions that count, the mixed loss
// (mixed_loss.h) and the gradients of x and w. For a small model with a large vocabulary this is most of the
// work, so the fast path goes through chunks of kHeadTokens tokens and tiles of kHeadColumns vocabulary
// entries; each logit is touched while in cache, its exponential is taken once, and [T, V] never exists.
//
// Repeatable at any thread count: the tiles are combined in vocabulary order, the gradient of x over a fixed
// number of vocabulary stripes in order, that of w over tokens in order.
#ifndef STUDENT_LOSS_HEAD_H_
#define STUDENT_LOSS_HEAD_H_

#include <cstdint>
#include <span>
#include <vector>

#include "student/device/device_types.h"
#include "student/loss/mixed_loss.h"
#include "student/model/packed_batch.h"
#include "student/tensor/compute.h"

namespace retort::student {

inline constexpr int kHeadTokens = 256;  // a multiple of kMatmulDepth: chunking does not show in the sums
inline constexpr int kHeadColumns = 128;
inline constexpr int kHeadStripes = 16;

// Working memory, kept from call to call.
struct HeadMemory {
  Buffer logits, packed, stripes, values;
};

struct HeadTensors {
  const float* x;  // [T, hidden]
  const float* w;  // [vocabulary, hidden]
  int vocabulary, hidden;
  // Both null: forward only. Otherwise rows of d_x named in `rows` are overwritten, and the gradient is added
  // to d_w.
  float* d_x;  // [T, hidden]
  float* d_w;  // [vocabulary, hidden]
};

struct HeadResult {
  TokenLoss loss;
  std::int32_t argmax = -1;  // lowest id among the largest logits; only if asked for
};

// Losses of the positions `rows` (rising, in [0, T)), in that order. The gradient is that of
// sum over rows of factor * batch.weights[t] * L_t.
std::vector<HeadResult> HeadLoss(const Compute& compute, HeadMemory* memory, const HeadTensors& tensors,
                                 const PackedBatch& batch, std::span<const std::int32_t> rows,
                                 float ce_weight, double factor, bool want_argmax);

// The device twin works on a chunk of logits that a matrix product has made, so [T, V] never exists. All
// pointers are to device memory (student/ops/README.md). The arrays are those of a PackedBatch.
struct DeviceTargets {
  const std::int32_t* targets;         // [T]
  const float* weights;                // [T]
  int teacher_k;                       // 0: the four below are null
  const std::int32_t* teacher_counts;  // [T]
  const std::int32_t* teacher_ids;     // [T, teacher_k]
  const float* teacher_logprobs;       // [T, teacher_k]
  const float* teacher_tail_logprobs;  // [T]
};

// Per row of a chunk, in fp64 as TokenLoss.
struct DeviceTokenLosses {
  double* cross_entropy;  // [count]
  double* divergence;     // [count]
  std::int32_t* argmax;   // [count]: lowest id among the largest logits; null: not wanted
};

// Floats of working memory for a chunk of `count` rows.
std::int64_t HeadLossWorkspace(std::int64_t count, int teacher_k);

// rows [count] are the positions of the chunk's rows of logits [count, vocabulary]. Writes losses, and if
// d_logits [count, vocabulary] is not null, *factor * weights[t] times the gradient. d_logits may be logits
// itself when T is float, otherwise it lies beside. logits is overwritten in any case: a stored token's place
// is marked in it. T: float or Bf16. One exponential per logit and pass, against the maximum of the tokens
// that the teacher did not store; sums in fp32 over a fixed tree, the few values of a row in fp64.
template <typename T>
void HeadLoss(Stream stream, float* logits, int vocabulary, const DeviceTargets& targets,
              const std::int32_t* rows, std::int64_t count, float ce_weight, const double* factor,
              T* d_logits, const DeviceTokenLosses& losses, float* workspace);

// Sums as in BatchResult, added to by each chunk. In device memory; the caller sets it to zero.
struct HeadSums {
  double valid_tokens, teacher_tokens, ce_sum, kl_sum, mixed_sum;
};
// Adds the rows of one chunk over a fixed tree.
void SumHeadLosses(Stream stream, const DeviceTargets& targets, const std::int32_t* rows, std::int64_t count,
                   float ce_weight, const DeviceTokenLosses& losses, HeadSums* sums);

// The teacher's entries for position t, none if the batch has no teacher.
TeacherRow TeacherAt(const PackedBatch& batch, std::int64_t t);

}  // namespace retort::student

#endif  // STUDENT_LOSS_HEAD_H_
