#include "student/ops/router.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <vector>

namespace retort::student {
namespace {

// Marks the `count` largest of values[0, n), the lower index on ties.
template <typename Real>
void MarkLargest(const Real* values, int n, int count, bool* marked) {
  std::fill_n(marked, n, false);
  for (int round = 0; round < count; ++round) {
    int best = -1;
    for (int i = 0; i < n; ++i) {
      if (!marked[i] && (best < 0 || values[i] > values[best])) best = i;
    }
    marked[best] = true;
  }
}

}  // namespace

template <typename Real>
void RouteRow(const RouterShape& shape, const Real* logits, const Real* bias, Real* scores,
              std::int32_t* chosen, Real* weights) {
  assert(shape.experts <= kExpertsMax && shape.per_token <= shape.experts);
  Real choice[kExpertsMax] = {};
  bool marked[kExpertsMax];
  for (int e = 0; e < shape.experts; ++e) {
    scores[e] = 1 / (1 + std::exp(-logits[e]));
    choice[e] = scores[e] + bias[e];
  }
  if (shape.groups_per_token < shape.groups) {
    const int size = shape.experts / shape.groups;
    Real group_score[kExpertsMax];
    bool kept[kExpertsMax];
    for (int g = 0; g < shape.groups; ++g) {
      MarkLargest(choice + g * size, size, std::min(2, size), marked);
      group_score[g] = 0;
      for (int i = 0; i < size; ++i) group_score[g] += marked[i] ? choice[g * size + i] : 0;
    }
    MarkLargest(group_score, shape.groups, shape.groups_per_token, kept);
    for (int e = 0; e < shape.experts; ++e) {
      if (!kept[e / size]) choice[e] = -std::numeric_limits<Real>::infinity();
    }
  }
  MarkLargest(choice, shape.experts, shape.per_token, marked);
  Real sum = 0;
  int k = 0;
  for (int e = 0; e < shape.experts; ++e) {
    if (!marked[e]) continue;
    chosen[k] = e;
    weights[k++] = scores[e];
    sum += scores[e];
  }
  for (k = 0; k < shape.per_token; ++k) {
    if (shape.normalise) weights[k] /= sum + static_cast<Real>(1e-20);
    weights[k] *= shape.scaling;
  }
}

template <typename Real>
void RouteRowBackward(const RouterShape& shape, const Real* scores, const std::int32_t* chosen,
                      const Real* d_weights, Real* d_logits) {
  std::fill_n(d_logits, shape.experts, Real{0});
  Real sum = 0, mean = 0;
  for (int k = 0; k < shape.per_token; ++k) sum += scores[chosen[k]];
  sum += static_cast<Real>(1e-20);
  for (int k = 0; k < shape.per_token; ++k) mean += d_weights[k] * scores[chosen[k]] / sum;
  for (int k = 0; k < shape.per_token; ++k) {
    const Real s = scores[chosen[k]];
    const Real d_score =
        shape.normalise ? shape.scaling / sum * (d_weights[k] - mean) : shape.scaling * d_weights[k];
    d_logits[chosen[k]] = d_score * s * (1 - s);
  }
}

template void RouteRow(const RouterShape&, const float*, const float*, float*, std::int32_t*, float*);
template void RouteRow(const RouterShape&, const double*, const double*, double*, std::int32_t*, double*);
template void RouteRowBackward(const RouterShape&, const float*, const std::int32_t*, const float*, float*);
template void RouteRowBackward(const RouterShape&, const double*, const std::int32_t*, const double*,
                               double*);

void Route(const Compute& compute, const RouterShape& shape, const float* logits, const float* bias,
           std::int64_t rows, float* scores, std::int32_t* chosen, float* weights) {
  ForEachBlock(compute, rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      RouteRow(shape, logits + t * shape.experts, bias, scores + t * shape.experts,
               chosen + t * shape.per_token, weights + t * shape.per_token);
    }
  });
}

void RouteBackward(const Compute& compute, const RouterShape& shape, const float* scores,
                   const std::int32_t* chosen, const float* d_weights, std::int64_t rows, float* d_logits) {
  ForEachBlock(compute, rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      RouteRowBackward(shape, scores + t * shape.experts, chosen + t * shape.per_token,
                       d_weights + t * shape.per_token, d_logits + t * shape.experts);
    }
  });
}

double BalanceLoss(const RouterShape& shape, const float* scores, std::int64_t rows, double weight,
                   float* d_logits) {
  const int experts = shape.experts;
  std::vector<double> fraction(experts, 0.0), mean(experts, 0.0), sums(rows);
  bool marked[kExpertsMax];
  for (std::int64_t t = 0; t < rows; ++t) {
    const float* s = scores + t * experts;
    MarkLargest(s, experts, shape.per_token, marked);
    for (int e = 0; e < experts; ++e) sums[t] += s[e];
    for (int e = 0; e < experts; ++e) {
      fraction[e] += marked[e] ? 1 : 0;
      mean[e] += s[e] / sums[t];
    }
  }
  double loss = 0;
  for (int e = 0; e < experts; ++e) {
    fraction[e] *= static_cast<double>(experts) / (static_cast<double>(shape.per_token) * rows);
    loss += fraction[e] * mean[e] / rows;
  }
  if (d_logits == nullptr) return loss;
  for (std::int64_t t = 0; t < rows; ++t) {
    const float* s = scores + t * experts;
    double average = 0;
    for (int e = 0; e < experts; ++e) average += fraction[e] * s[e] / sums[t];
    for (int e = 0; e < experts; ++e) {
      const double d_score = weight / rows * (fraction[e] - average) / sums[t];
      d_logits[t * experts + e] += static_cast<float>(d_score * s[e] * (1.0 - s[e]));
    }
  }
  return loss;
}

}  // namespace retort::student
