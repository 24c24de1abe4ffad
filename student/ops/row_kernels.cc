#include "student/ops/row_kernels.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "student/ops/rms_norm.h"
#include "student/ops/swiglu.h"

namespace retort::student {
namespace {

float Dot(const float* a, const float* b, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void Add(const float* x, int n, float* y) {
  for (int i = 0; i < n; ++i) y[i] += x[i];
}

void Scale(float factor, int n, float* y) {
  for (int i = 0; i < n; ++i) y[i] *= factor;
}

float Maximum(const float* x, int n) {
  float best = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < n; ++i) best = std::max(best, x[i]);
  return best;
}

float ExpSum(float* x, int n, float shift) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - shift);
  return sum;
}

void AttentionBackward(float* s, float* dp, float scale, float lse, float delta, int n) {
  for (int i = 0; i < n; ++i) {
    s[i] = std::exp(s[i] * scale - lse);
    dp[i] = scale * (s[i] * (dp[i] - delta));
  }
}

void AdamWRow(const AdamWCoefficients& c, const float* gradient, int n, float* theta, float* m, float* v) {
  for (int i = 0; i < n; ++i) {
    const float g = gradient[i] * c.gradient_scale;
    m[i] = c.beta1 * m[i] + (1.0f - c.beta1) * g;
    v[i] = c.beta2 * v[i] + (1.0f - c.beta2) * (g * g);
    theta[i] -= c.step * (m[i] / (std::sqrt(v[i]) * c.root_correction + c.epsilon)) + c.decay * theta[i];
  }
}

constexpr RowKernels kRowKernelsPlain = {Dot,
                                         Add,
                                         Scale,
                                         Maximum,
                                         ExpSum,
                                         plain::RmsNormRow<float>,
                                         plain::RmsNormRowBackward<float>,
                                         plain::RmsNormRowGain<float>,
                                         plain::SwigluRow<float>,
                                         plain::SwigluRowBackward<float>,
                                         AttentionBackward,
                                         AdamWRow};

}  // namespace

#if defined(__x86_64__)
extern const RowKernels kRowKernelsAvx2;
extern const RowKernels kRowKernelsAvx512;
#endif

const RowKernels& RowKernelsOf(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kRowKernelsAvx512;
  if (isa == Isa::kAvx2) return kRowKernelsAvx2;
#endif
  assert(isa == Isa::kPlain);
  return kRowKernelsPlain;
}

}  // namespace retort::student
