#include "student/ops/swiglu.h"

#include "student/ops/row_kernels.h"

namespace retort::student {
namespace {

constexpr int kRowsPerTask = 32;

}  // namespace

void Swiglu(const Compute& compute, const float* gate_up, const float* scale, std::int64_t rows, int n,
            float* h) {
  const RowKernels& kernels = RowKernelsOf(compute.isa);
  ForEachBlock(compute, rows, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* gate = gate_up + row * 2 * n;
      kernels.swiglu(gate, gate + n, scale == nullptr ? 1.0f : scale[row], n, h + row * n);
    }
  });
}

void SwigluBackward(const Compute& compute, const float* gate_up, const float* scale, const float* d_h,
                    std::int64_t rows, int n, float* d_gate_up, float* d_scale) {
  const RowKernels& kernels = RowKernelsOf(compute.isa);
  ForEachBlock(compute, rows, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* gate = gate_up + row * 2 * n;
      float* d_gate = d_gate_up + row * 2 * n;
      const float d = kernels.swiglu_backward(gate, gate + n, d_h + row * n,
                                              scale == nullptr ? 1.0f : scale[row], n, d_gate, d_gate + n);
      if (d_scale != nullptr) d_scale[row] = d;
    }
  });
}

}  // namespace retort::student
