// The gated unit between the two halves of a feed-forward block: h = scale * silu(gate) * up, silu(a) = a *
// sigmoid(a) (Shazeer, arXiv 2002.05202). scale is an expert's routing weight, folded in before the down
// projection, or 1. Repeatable at any thread count.
#ifndef STUDENT_OPS_SWIGLU_H_
#define STUDENT_OPS_SWIGLU_H_

#include <cmath>
#include <cstdint>

#include "student/device/device_types.h"
#include "student/tensor/compute.h"

namespace retort::student {

// gate_up [rows, 2n]: row = n gates, then n ups. scale [rows] or null for 1. h [rows, n].
void Swiglu(const Compute& compute, const float* gate_up, const float* scale, std::int64_t rows, int n,
            float* h);

// d_h [rows, n] is the gradient of h. Overwrites d_gate_up [rows, 2n] and, if not null, d_scale [rows].
void SwigluBackward(const Compute& compute, const float* gate_up, const float* scale, const float* d_h,
                    std::int64_t rows, int n, float* d_gate_up, float* d_scale);

// The device twins (student/ops/README.md). fp32 inside, T stored: float or Bf16.
template <typename T>
void Swiglu(Stream stream, const T* gate_up, const float* scale, std::int64_t rows, int n, T* h);
template <typename T>
void SwigluBackward(Stream stream, const T* gate_up, const float* scale, const T* d_h, std::int64_t rows,
                    int n, T* d_gate_up, float* d_scale);

// The truth, one row, any real type.
namespace plain {

template <typename Real>
void SwigluRow(const Real* gate, const Real* up, Real scale, int n, Real* h) {
  for (int i = 0; i < n; ++i) {
    const Real s = 1 / (1 + std::exp(-gate[i]));
    h[i] = scale * (gate[i] * s * up[i]);
  }
}

template <typename Real>
Real SwigluRowBackward(const Real* gate, const Real* up, const Real* dh, Real scale, int n, Real* d_gate,
                       Real* d_up) {
  Real d_scale = 0;
  for (int i = 0; i < n; ++i) {
    const Real g = gate[i], u = up[i], d = dh[i];
    const Real s = 1 / (1 + std::exp(-g));
    d_scale += d * (g * s * u);
    d_up[i] = scale * d * (g * s);
    d_gate[i] = scale * d * u * (s * (1 + g * (1 - s)));
  }
  return d_scale;
}

}  // namespace plain
}  // namespace retort::student

#endif  // STUDENT_OPS_SWIGLU_H_
