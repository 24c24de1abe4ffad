// The inner loops of the element-wise operators over one row, one implementation per instruction set. The
// vector ones work on sixteen lanes whatever the width of the registers and neither fuse nor reorder, so AVX2
// and AVX-512 give the same bits; sums go over sixteen lanes and then a fixed tree. Any n >= 0; pointers need
// no alignment. What each computes in plain terms is stated by the operator that calls it (rms_norm.h,
// swiglu.h, attention.h, loss/head.h, optimizer/adamw.h).
#ifndef STUDENT_OPS_ROW_KERNELS_H_
#define STUDENT_OPS_ROW_KERNELS_H_

#include "student/tensor/isa.h"

namespace retort::student {

struct AdamWCoefficients {
  float beta1, beta2, gradient_scale;
  float step, root_correction, epsilon,
      decay;  // theta -= step * m / (sqrt(v) * root_correction + epsilon) + decay * theta
};

struct RowKernels {
  float (*dot)(const float* a, const float* b, int n);
  void (*add)(const float* x, int n, float* y);    // y += x
  void (*scale)(float factor, int n, float* y);    // y *= factor
  float (*maximum)(const float* x, int n);         // -infinity if n = 0
  float (*exp_sum)(float* x, int n, float shift);  // x = exp(x - shift) in place; returns the sum
  // y = w * (x * r); returns r = 1 / sqrt(mean(x^2) + epsilon).
  float (*rms_norm)(const float* x, const float* w, int n, float epsilon, float* y);
  // dx += r * (g - xhat * mean(g * xhat)), g = dy * w, xhat = x * r.
  void (*rms_norm_backward)(const float* x, const float* w, float r, const float* dy, int n, float* dx);
  // dw += dy * (x * r): one token's share of the gain's gradient.
  void (*rms_norm_gain)(const float* x, float r, const float* dy, int n, float* dw);
  // h = scale * silu(gate) * up.
  void (*swiglu)(const float* gate, const float* up, float scale, int n, float* h);
  // From dh, the gradient of scale * silu(gate) * up: d_gate and d_up overwritten; returns sum(dh *
  // silu(gate) * up), the gradient of scale.
  float (*swiglu_backward)(const float* gate, const float* up, const float* dh, float scale, int n,
                           float* d_gate, float* d_up);
  // p = exp(scale * s - lse) over s, and ds = scale * p * (dp - delta) over dp.
  void (*attention_backward)(float* s, float* dp, float scale, float lse, float delta, int n);
  void (*adamw)(const AdamWCoefficients& c, const float* gradient, int n, float* theta, float* m, float* v);
};

// Never null; for Isa::kPlain loops in plain C++.
const RowKernels& RowKernelsOf(Isa isa);

}  // namespace retort::student

#endif  // STUDENT_OPS_ROW_KERNELS_H_
