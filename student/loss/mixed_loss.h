// What one position loses: a*CE + (1-a)*KL, where KL is the forward divergence from a stored teacher
// distribution of a few tokens and one tail bucket for all others. Derivation:
// docs/kernels/tail_bucket_kl.md.
//
//   CE = lse(z) - z_y
//   KL = sum over i in S of q_i (log q_i - log p_i) + q_tail (log q_tail - log p_tail),   p = softmax(z)
//   dz_j = p_j - (1-a) q_j - a [j = y]                          for j in S
//   dz_j = p_j - (1-a) q_tail p_j / p_tail - a [j = y]          for j not in S
// log p_tail comes from a log-sum-exp over the complement of S, never from 1 - sum, so it stays exact when S
// holds nearly all the mass. A term with q = 0 is 0. Without a teacher distribution (count 0): CE alone,
// whatever a is.
#ifndef STUDENT_LOSS_MIXED_LOSS_H_
#define STUDENT_LOSS_MIXED_LOSS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace retort::student {

// Entries of one position; ids distinct.
struct TeacherRow {
  int count = 0;
  const std::int32_t* ids = nullptr;  // [count]
  const float* logprobs = nullptr;    // [count]
  float tail_logprob = -std::numeric_limits<float>::infinity();
};

struct TokenLoss {
  double cross_entropy = 0;
  double divergence = 0;  // 0 without a teacher
  double Mixed(double ce_weight, bool has_teacher) const {
    return has_teacher ? ce_weight * cross_entropy + (1 - ce_weight) * divergence : cross_entropy;
  }
};

namespace plain {

// The truth for one position, any real type. z [vocabulary]; d_z, if not null, is overwritten with factor *
// gradient.
template <typename Real>
TokenLoss MixedLossRow(const Real* z, int vocabulary, std::int32_t target, const TeacherRow& teacher,
                       Real ce_weight, Real factor, Real* d_z) {
  const Real a = teacher.count > 0 ? ce_weight : Real{1};
  std::vector<bool> stored(vocabulary, false);
  for (int i = 0; i < teacher.count; ++i) stored[teacher.ids[i]] = true;
  const Real best = *std::max_element(z, z + vocabulary);
  Real sum = 0, tail_sum = 0;
  for (int j = 0; j < vocabulary; ++j) {
    sum += std::exp(z[j] - best);
    if (!stored[j]) tail_sum += std::exp(z[j] - best);
  }
  const Real lse = best + std::log(sum);
  TokenLoss loss;
  loss.cross_entropy = lse - z[target];
  const Real q_tail = teacher.count > 0 ? std::exp(static_cast<Real>(teacher.tail_logprob)) : Real{0};
  if (q_tail > 0) loss.divergence += q_tail * (teacher.tail_logprob - std::log(tail_sum / sum));
  for (int i = 0; i < teacher.count; ++i) {
    const Real q = std::exp(static_cast<Real>(teacher.logprobs[i]));
    if (q > 0) loss.divergence += q * (teacher.logprobs[i] - (z[teacher.ids[i]] - lse));
  }
  if (d_z == nullptr) return loss;
  for (int j = 0; j < vocabulary; ++j) {
    const Real p = std::exp(z[j] - lse);
    d_z[j] =
        factor * (stored[j] || q_tail == 0 ? p : p - (1 - a) * q_tail * std::exp(z[j] - best) / tail_sum);
  }
  for (int i = 0; i < teacher.count; ++i) {
    d_z[teacher.ids[i]] -= factor * (1 - a) * std::exp(static_cast<Real>(teacher.logprobs[i]));
  }
  d_z[target] -= factor * a;
  return loss;
}

}  // namespace plain
}  // namespace retort::student

#endif  // STUDENT_LOSS_MIXED_LOSS_H_
