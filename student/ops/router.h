// Chooses the experts of each token: sigmoid scores, group-limited top-K by biased score, weights from
// unbiased ones (DeepSeek-V3, arXiv 2412.19437, section 2.1.2). Entirely in fp32, no fast path: it is a
// thousandth of the work and must be exact. Derivation of the gradients: docs/kernels/router.md.
//
//   s = sigmoid(z);  choice c_e = s_e + bias_e;  a group's score = sum of its two largest c;  the M best
//   groups stay, all others become -infinity;  the K largest c win;  w_k = s_k / (sum of the K chosen s +
//   1e-20) * scaling.
// Ties: the lower index wins, among experts and among groups. Chosen experts are listed in rising index.
#ifndef STUDENT_OPS_ROUTER_H_
#define STUDENT_OPS_ROUTER_H_

#include <cstddef>
#include <cstdint>

#include "student/device/device_types.h"
#include "student/tensor/compute.h"

namespace retort::student {

struct RouterShape {
  int experts;           // E <= kExpertsMax
  int per_token;         // K
  int groups;            // G; 1 = no group limit
  int groups_per_token;  // M
  float scaling;         // R
  bool normalise;        // without it w_k = s_k * scaling
};
inline constexpr int kExpertsMax = 1024;

// logits [rows, E], bias [E]; writes scores [rows, E] (s), chosen [rows, K] and weights [rows, K].
void Route(const Compute& compute, const RouterShape& shape, const float* logits, const float* bias,
           std::int64_t rows, float* scores, std::int32_t* chosen, float* weights);

// d_weights [rows, K] is the gradient of the weights; overwrites d_logits [rows, E].
void RouteBackward(const Compute& compute, const RouterShape& shape, const float* scores,
                   const std::int32_t* chosen, const float* d_weights, std::int64_t rows, float* d_logits);

// The sequence-wise balance loss of one document without its factor alpha: sum_e f_e P_e, f_e = E / (K*rows)
// * number of tokens with e among the K largest unbiased scores, P_e = mean over tokens of s_e / sum_j s_j.
// If d_logits is not null adds `weight` times its gradient (f held constant) to d_logits [rows, E].
double BalanceLoss(const RouterShape& shape, const float* scores, std::int64_t rows, double weight,
                   float* d_logits);

// The device twins (student/ops/README.md); fp32, the same tie rule. A NaN counts as smaller than every
// number, so that K different experts are chosen whatever the scores are.
void Route(Stream stream, const RouterShape& shape, const float* logits, const float* bias, std::int64_t rows,
           float* scores, std::int32_t* chosen, float* weights);
void RouteBackward(Stream stream, const RouterShape& shape, const float* scores, const std::int32_t* chosen,
                   const float* d_weights, std::int64_t rows, float* d_logits);

// Sums over the documents of a batch, in document order. In device memory; the caller sets it to zero.
struct BalanceSums {
  double loss;        // alpha * L
  double token_loss;  // alpha * L * tokens of the document: what the gradient is the gradient of, over factor
};

// Bytes of working memory.
std::size_t BalanceLossWorkspace(const RouterShape& shape, std::int64_t rows, int documents);

// BalanceLoss of every document of a pack at once; document_starts [documents + 1]. Adds to *sums, and, if
// d_logits is not null, alpha * *factor * (tokens of the document) times the gradient to d_logits [rows, E].
// factor is in device memory, so that a captured graph can be replayed with another one. Sums in fp64.
void BalanceLoss(Stream stream, const RouterShape& shape, const float* scores, std::int64_t rows,
                 const std::int32_t* document_starts, int documents, double alpha, const double* factor,
                 float* d_logits, BalanceSums* sums, void* workspace);

// One token, float or double.
template <typename Real>
void RouteRow(const RouterShape& shape, const Real* logits, const Real* bias, Real* scores,
              std::int32_t* chosen, Real* weights);
template <typename Real>
void RouteRowBackward(const RouterShape& shape, const Real* scores, const std::int32_t* chosen,
                      const Real* d_weights, Real* d_logits);

}  // namespace retort::student

#endif  // STUDENT_OPS_ROUTER_H_
