#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/rows.cuh"
#include "student/device/cuda/values.cuh"
#include "student/ops/swiglu.h"

namespace retort::student {
namespace {

// Neighbouring threads have neighbouring groups of kWidth columns.
template <int kWidth, typename T>
__global__ void SwigluKernel(int lanes, const T* gate_up, const float* scale, std::int64_t rows, int n,
                             T* h) {
  const std::int64_t row = RowOfThread(lanes);
  if (row >= rows) return;
  const T* const gates = gate_up + row * 2 * n;
  const float factor = scale == nullptr ? 1.0f : scale[row];
  for (int c = LaneOfThread(lanes) * kWidth; c < n; c += lanes * kWidth) {
    const Pack<kWidth> gate = Load<kWidth>(gates + c), up = Load<kWidth>(gates + n + c);
    Pack<kWidth> out;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float s = 1 / (1 + expf(-gate.v[j]));
      out.v[j] = factor * (gate.v[j] * s * up.v[j]);
    }
    Store(out, h + row * n + c);
  }
}

// One warp per row, since the gradient of the scale is a sum over the row.
template <int kWidth, typename T>
__global__ void SwigluBackwardKernel(const T* gate_up, const float* scale, const T* d_h, std::int64_t rows,
                                     int n, T* d_gate_up, float* d_scale) {
  const std::int64_t row = RowOfWarp();
  const int lane = LaneOfWarp();
  if (row >= rows) return;
  const T* const gates = gate_up + row * 2 * n;
  T* const d_gates = d_gate_up + row * 2 * n;
  const float factor = scale == nullptr ? 1.0f : scale[row];
  float sum = 0;
  for (int c = lane * kWidth; c < n; c += kWarp * kWidth) {
    const Pack<kWidth> gate = Load<kWidth>(gates + c), up = Load<kWidth>(gates + n + c);
    const Pack<kWidth> d = Load<kWidth>(d_h + row * n + c);
    Pack<kWidth> d_gate, d_up;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float g = gate.v[j];
      const float s = 1 / (1 + expf(-g));
      sum += d.v[j] * (g * s * up.v[j]);
      d_up.v[j] = factor * d.v[j] * (g * s);
      d_gate.v[j] = factor * d.v[j] * up.v[j] * (s * (1 + g * (1 - s)));
    }
    Store(d_gate, d_gates + c);
    Store(d_up, d_gates + n + c);
  }
  if (d_scale == nullptr) return;
  sum = WarpSum(sum);
  if (lane == 0) d_scale[row] = sum;
}

}  // namespace

template <typename T>
void Swiglu(Stream stream, const T* gate_up, const float* scale, std::int64_t rows, int n, T* h) {
  if (rows == 0 || n == 0) return;
  if (AlignedByFour(gate_up, n) && AlignedByFour(h, n)) {
    const RowLayout layout = LayRows(rows, n / 4);
    RETORT_LAUNCH((SwigluKernel<4, T>), layout.blocks, kRowThreads, 0, stream, layout.lanes, gate_up, scale,
                  rows, n, h);
  } else {
    const RowLayout layout = LayRows(rows, n);
    RETORT_LAUNCH((SwigluKernel<1, T>), layout.blocks, kRowThreads, 0, stream, layout.lanes, gate_up, scale,
                  rows, n, h);
  }
}

template <typename T>
void SwigluBackward(Stream stream, const T* gate_up, const float* scale, const T* d_h, std::int64_t rows,
                    int n, T* d_gate_up, float* d_scale) {
  if (rows == 0 || n == 0) return;
  if (AlignedByFour(gate_up, n) && AlignedByFour(d_h, n) && AlignedByFour(d_gate_up, n)) {
    RETORT_LAUNCH((SwigluBackwardKernel<4, T>), WarpBlocks(rows), kRowWarps * kWarp, 0, stream, gate_up,
                  scale, d_h, rows, n, d_gate_up, d_scale);
  } else {
    RETORT_LAUNCH((SwigluBackwardKernel<1, T>), WarpBlocks(rows), kRowWarps * kWarp, 0, stream, gate_up,
                  scale, d_h, rows, n, d_gate_up, d_scale);
  }
}

template void Swiglu(Stream, const float*, const float*, std::int64_t, int, float*);
template void Swiglu(Stream, const Bf16*, const float*, std::int64_t, int, Bf16*);
template void SwigluBackward(Stream, const float*, const float*, const float*, std::int64_t, int, float*,
                             float*);
template void SwigluBackward(Stream, const Bf16*, const float*, const Bf16*, std::int64_t, int, Bf16*,
                             float*);

}  // namespace retort::student
