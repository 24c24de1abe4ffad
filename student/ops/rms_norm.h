// Root-mean-square normalisation of rows: r = (mean(x^2) + epsilon)^(-1/2), y = w * (x * r), all in fp32
// (Zhang and Sennrich, arXiv 1910.07467). Repeatable at any thread count.
#ifndef STUDENT_OPS_RMS_NORM_H_
#define STUDENT_OPS_RMS_NORM_H_

#include <cmath>
#include <cstdint>

#include "student/device/device_types.h"
#include "student/tensor/compute.h"

namespace retort::student {

// x and y are [rows, n] with their strides between rows; w [n]; r [rows] is kept for the backward pass (null:
// not kept). y may be x.
void RmsNorm(const Compute& compute, const float* x, std::int64_t x_stride, const float* w, std::int64_t rows,
             int n, float epsilon, float* y, std::int64_t y_stride, float* r);

// dx += r * (g - xhat * mean(g * xhat)) with g = dy * w and xhat = x * r; dw += sum over rows, in order, of
// dy * xhat. dx overlaps nothing else.
void RmsNormBackward(const Compute& compute, const float* x, std::int64_t x_stride, const float* w,
                     const float* r, const float* dy, std::int64_t dy_stride, std::int64_t rows, int n,
                     float* dx, std::int64_t dx_stride, float* dw);

// The device twins (student/ops/README.md). Sums are taken in fp32 over a fixed tree that depends on n alone;
// results are rounded once, when stored. X, Y, Dy, Dx: float or Bf16, any mixture.
template <typename X, typename Y>
void RmsNorm(Stream stream, const X* x, std::int64_t x_stride, const float* w, std::int64_t rows, int n,
             float epsilon, Y* y, std::int64_t y_stride, float* r);

// Floats of working memory.
std::int64_t RmsNormBackwardWorkspace(std::int64_t rows, int n);

// dx is added to if `accumulate`, overwritten otherwise. dw [n] is added to: rows in blocks of a fixed size,
// in order, then the blocks in order.
template <typename X, typename Dy, typename Dx>
void RmsNormBackward(Stream stream, const X* x, std::int64_t x_stride, const float* w, const float* r,
                     const Dy* dy, std::int64_t dy_stride, std::int64_t rows, int n, bool accumulate, Dx* dx,
                     std::int64_t dx_stride, float* dw, float* workspace);

// The truth, one row, any real type.
namespace plain {

template <typename Real>
Real RmsNormRow(const Real* x, const Real* w, int n, Real epsilon, Real* y) {
  Real sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  const Real r = 1 / std::sqrt(sum / n + epsilon);
  for (int i = 0; i < n; ++i) y[i] = w[i] * (x[i] * r);
  return r;
}

template <typename Real>
void RmsNormRowBackward(const Real* x, const Real* w, Real r, const Real* dy, int n, Real* dx) {
  Real mean = 0;
  for (int i = 0; i < n; ++i) mean += (dy[i] * w[i]) * (x[i] * r);
  mean /= n;
  for (int i = 0; i < n; ++i) dx[i] += r * (dy[i] * w[i] - (x[i] * r) * mean);
}

template <typename Real>
void RmsNormRowGain(const Real* x, Real r, const Real* dy, int n, Real* dw) {
  for (int i = 0; i < n; ++i) dw[i] += dy[i] * (x[i] * r);
}

}  // namespace plain
}  // namespace retort::student

#endif  // STUDENT_OPS_RMS_NORM_H_
