#include "student/loss/head.h"

#include <algorithm>

#include "student/loss/head_fast.h"
#include "student/ops/matmul.h"

namespace retort::student {
namespace {

// The plain way: all logits of a few tokens, the loss row by row, two more products.
std::vector<HeadResult> HeadLossPlain(const Compute& compute, HeadMemory* memory, const HeadTensors& tensors,
                                      const PackedBatch& batch, std::span<const std::int32_t> rows,
                                      float ce_weight, double factor) {
  constexpr std::int64_t kTokens = 16;
  const int vocabulary = tensors.vocabulary, hidden = tensors.hidden;
  std::vector<HeadResult> results(rows.size());
  float* const logits = memory->logits.Reserve(2 * kTokens * vocabulary);
  float* const d_logits = logits + kTokens * vocabulary;
  float* const d_rows = memory->values.Reserve(kTokens * hidden);
  for (std::size_t first = 0; first < rows.size(); first += kTokens) {
    const int count = static_cast<int>(std::min<std::size_t>(kTokens, rows.size() - first));
    const MatrixView x = {tensors.x, hidden, rows.data() + first};
    MatMul(compute, LinearForward(x, {tensors.w, hidden}, logits, vocabulary, count, hidden, vocabulary));
    compute.pool->Run(count, [&](std::int64_t i, int) {
      const std::int32_t t = rows[first + i];
      const float* z = logits + i * vocabulary;
      results[first + i].loss =
          plain::MixedLossRow(z, vocabulary, batch.targets[t], TeacherAt(batch, t), ce_weight,
                              static_cast<float>(factor * batch.weights[t]),
                              tensors.d_w == nullptr ? nullptr : d_logits + i * vocabulary);
      results[first + i].argmax = static_cast<std::int32_t>(std::max_element(z, z + vocabulary) - z);
    });
    if (tensors.d_w == nullptr) continue;
    const MatrixProduct products[] = {
        LinearBackwardInput({d_logits, vocabulary}, {tensors.w, hidden}, d_rows, hidden, count, hidden,
                            vocabulary, false),
        LinearBackwardWeight({d_logits, vocabulary}, x, tensors.d_w, hidden, count, hidden, vocabulary)};
    MatMul(compute, products);
    for (int i = 0; i < count; ++i) {
      std::copy_n(d_rows + static_cast<std::int64_t>(i) * hidden, hidden,
                  tensors.d_x + static_cast<std::int64_t>(rows[first + i]) * hidden);
    }
  }
  return results;
}

}  // namespace

TeacherRow TeacherAt(const PackedBatch& batch, std::int64_t t) {
  if (batch.teacher_k == 0) return {};
  return {batch.teacher_counts[t], batch.teacher_ids.data() + t * batch.teacher_k,
          batch.teacher_logprobs.data() + t * batch.teacher_k, batch.teacher_tail_logprobs[t]};
}

std::vector<HeadResult> HeadLoss(const Compute& compute, HeadMemory* memory, const HeadTensors& tensors,
                                 const PackedBatch& batch, std::span<const std::int32_t> rows,
                                 float ce_weight, double factor, bool want_argmax) {
  if (compute.isa == Isa::kPlain)
    return HeadLossPlain(compute, memory, tensors, batch, rows, ce_weight, factor);
  return HeadLossFast(compute, memory, tensors, batch, rows, ce_weight, factor, want_argmax);
}

}  // namespace retort::student
