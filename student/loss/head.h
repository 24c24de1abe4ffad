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

// The teacher's entries for position t, none if the batch has no teacher.
TeacherRow TeacherAt(const PackedBatch& batch, std::int64_t t);

}  // namespace retort::student

#endif  // STUDENT_LOSS_HEAD_H_
