#include "student/ops/rms_norm.h"

#include "student/ops/row_kernels.h"

namespace retort::student {
namespace {

constexpr int kRowsPerTask = 64;
constexpr int kColumnsPerTask = 64;

}  // namespace

void RmsNorm(const Compute& compute, const float* x, std::int64_t x_stride, const float* w, std::int64_t rows,
             int n, float epsilon, float* y, std::int64_t y_stride, float* r) {
  const RowKernels& kernels = RowKernelsOf(compute.isa);
  ForEachBlock(compute, rows, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float value = kernels.rms_norm(x + row * x_stride, w, n, epsilon, y + row * y_stride);
      if (r != nullptr) r[row] = value;
    }
  });
}

void RmsNormBackward(const Compute& compute, const float* x, std::int64_t x_stride, const float* w,
                     const float* r, const float* dy, std::int64_t dy_stride, std::int64_t rows, int n,
                     float* dx, std::int64_t dx_stride, float* dw) {
  const RowKernels& kernels = RowKernelsOf(compute.isa);
  // Blocks of rows for dx, then blocks of columns for dw: the sum over rows stays in one task, in order.
  const std::int64_t row_tasks = (rows + kRowsPerTask - 1) / kRowsPerTask;
  const std::int64_t column_tasks = (n + kColumnsPerTask - 1) / kColumnsPerTask;
  compute.pool->Run(row_tasks + column_tasks, [&](std::int64_t task, int) {
    if (task < row_tasks) {
      for (std::int64_t row = task * kRowsPerTask; row < std::min(rows, (task + 1) * kRowsPerTask); ++row) {
        kernels.rms_norm_backward(x + row * x_stride, w, r[row], dy + row * dy_stride, n,
                                  dx + row * dx_stride);
      }
    } else {
      const int first = static_cast<int>(task - row_tasks) * kColumnsPerTask;
      const int count = std::min(kColumnsPerTask, n - first);
      for (std::int64_t row = 0; row < rows; ++row) {
        kernels.rms_norm_gain(x + row * x_stride + first, r[row], dy + row * dy_stride + first, count,
                              dw + first);
      }
    }
  });
}

}  // namespace retort::student
