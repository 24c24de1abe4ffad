#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/rows.cuh"
#include "student/device/cuda/values.cuh"
#include "student/ops/rope.h"

namespace retort::student {
namespace {

// A thread has one pair of one vector of a row; neighbouring threads have neighbouring pairs.
template <typename T>
__global__ void RopeKernel(int lanes, const float* cosines, const float* sines, int pairs,
                           const std::int32_t* positions, std::int64_t rows, int vectors, bool backward, T* x,
                           std::int64_t row_stride, std::int64_t vector_stride) {
  const std::int64_t row = RowOfThread(lanes);
  if (row >= rows) return;
  const std::int64_t angles = static_cast<std::int64_t>(positions[row]) * pairs;
  for (int i = LaneOfThread(lanes); i < vectors * pairs; i += lanes) {
    const int vector = i / pairs, pair = i % pairs;
    const float cosine = cosines[angles + pair],
                sine = backward ? -sines[angles + pair] : sines[angles + pair];
    T* const at = x + row * row_stride + vector * vector_stride + 2 * pair;
    const float a = ToFloat(at[0]), b = ToFloat(at[1]);
    Round(a * cosine - b * sine, &at[0]);
    Round(a * sine + b * cosine, &at[1]);
  }
}

}  // namespace

template <typename T>
void Rope(Stream stream, const float* cosines, const float* sines, int dim, const std::int32_t* positions,
          std::int64_t rows, int vectors, bool backward, T* x, std::int64_t row_stride,
          std::int64_t vector_stride) {
  const int pairs = dim / 2;
  if (rows == 0 || vectors == 0 || pairs == 0) return;
  const RowLayout layout = LayRows(rows, static_cast<std::int64_t>(vectors) * pairs);
  RETORT_LAUNCH((RopeKernel<T>), layout.blocks, kRowThreads, 0, stream, layout.lanes, cosines, sines, pairs,
                positions, rows, vectors, backward, x, row_stride, vector_stride);
}

template void Rope(Stream, const float*, const float*, int, const std::int32_t*, std::int64_t, int, bool,
                   float*, std::int64_t, std::int64_t);
template void Rope(Stream, const float*, const float*, int, const std::int32_t*, std::int64_t, int, bool,
                   Bf16*, std::int64_t, std::int64_t);

}  // namespace retort::student
