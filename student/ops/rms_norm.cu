#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/rows.cuh"
#include "student/device/cuda/values.cuh"
#include "student/ops/rms_norm.h"

namespace retort::student {
namespace {

// The gain's gradient: rows of one partial sum, columns of one block.
constexpr int kGainRows = 64;
constexpr int kGainThreads = 128;

// One warp per row, lanes over groups of kWidth columns; the row is read twice, the second time from cache.
template <int kWidth, typename X, typename Y>
__global__ void RmsNormKernel(const X* x, std::int64_t x_stride, const float* w, std::int64_t rows, int n,
                              float epsilon, Y* y, std::int64_t y_stride, float* r) {
  const std::int64_t row = RowOfWarp();
  const int lane = LaneOfWarp();
  if (row >= rows) return;
  const X* const from = x + row * x_stride;
  float squares = 0;
  for (int c = lane * kWidth; c < n; c += kWarp * kWidth) {
    const Pack<kWidth> v = Load<kWidth>(from + c);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) squares += v.v[j] * v.v[j];
  }
  const float factor = 1.0f / sqrtf(WarpSum(squares) / n + epsilon);
  if (lane == 0 && r != nullptr) r[row] = factor;
  Y* const to = y + row * y_stride;
  for (int c = lane * kWidth; c < n; c += kWarp * kWidth) {
    Pack<kWidth> v = Load<kWidth>(from + c);
    const Pack<kWidth> gain = Load<kWidth>(w + c);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) v.v[j] = gain.v[j] * (v.v[j] * factor);
    Store(v, to + c);
  }
}

// As above.
template <int kWidth, typename X, typename Dy, typename Dx>
__global__ void RmsNormBackwardKernel(const X* x, std::int64_t x_stride, const float* w, const float* r,
                                      const Dy* dy, std::int64_t dy_stride, std::int64_t rows, int n,
                                      bool accumulate, Dx* dx, std::int64_t dx_stride) {
  const std::int64_t row = RowOfWarp();
  const int lane = LaneOfWarp();
  if (row >= rows) return;
  const float factor = r[row];
  const X* const from = x + row * x_stride;
  const Dy* const gradient = dy + row * dy_stride;
  float sum = 0;
  for (int c = lane * kWidth; c < n; c += kWarp * kWidth) {
    const Pack<kWidth> v = Load<kWidth>(from + c), g = Load<kWidth>(gradient + c), gain = Load<kWidth>(w + c);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum += (g.v[j] * gain.v[j]) * (v.v[j] * factor);
  }
  const float mean = WarpSum(sum) / n;
  Dx* const to = dx + row * dx_stride;
  for (int c = lane * kWidth; c < n; c += kWarp * kWidth) {
    const Pack<kWidth> v = Load<kWidth>(from + c), g = Load<kWidth>(gradient + c), gain = Load<kWidth>(w + c);
    Pack<kWidth> out = {};
    if (accumulate) out = Load<kWidth>(to + c);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) out.v[j] += factor * (g.v[j] * gain.v[j] - (v.v[j] * factor) * mean);
    Store(out, to + c);
  }
}

// Block (x, y): columns x * kGainThreads + thread, rows y * kGainRows and on, in order, into partial [y, n].
template <typename X, typename Dy>
__global__ void GainPartials(const X* x, std::int64_t x_stride, const float* r, const Dy* dy,
                             std::int64_t dy_stride, std::int64_t rows, int n, float* partials) {
  const int c = static_cast<int>(blockIdx.x) * kGainThreads + static_cast<int>(threadIdx.x);
  if (c >= n) return;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * kGainRows;
  const std::int64_t last = first + kGainRows < rows ? first + kGainRows : rows;
  float sum = 0;
#pragma unroll 4
  for (std::int64_t row = first; row < last; ++row)
    sum += ToFloat(dy[row * dy_stride + c]) * (ToFloat(x[row * x_stride + c]) * r[row]);
  partials[static_cast<std::int64_t>(blockIdx.y) * n + c] = sum;
}

// One thread per column adds up its partial sums in order.
__global__ void AddGainPartials(const float* partials, std::int64_t count, int n, float* dw) {
  const int c = static_cast<int>(blockIdx.x) * kGainThreads + static_cast<int>(threadIdx.x);
  if (c >= n) return;
  float sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += partials[i * n + c];
  dw[c] += sum;
}

std::int64_t GainBlocks(std::int64_t rows) {
  return (rows + kGainRows - 1) / kGainRows;
}

}  // namespace

template <typename X, typename Y>
void RmsNorm(Stream stream, const X* x, std::int64_t x_stride, const float* w, std::int64_t rows, int n,
             float epsilon, Y* y, std::int64_t y_stride, float* r) {
  if (rows == 0) return;
  if (n % 4 == 0 && AlignedByFour(x, x_stride) && AlignedByFour(w, 4) && AlignedByFour(y, y_stride)) {
    RETORT_LAUNCH((RmsNormKernel<4, X, Y>), WarpBlocks(rows), kRowWarps * kWarp, 0, stream, x, x_stride, w,
                  rows, n, epsilon, y, y_stride, r);
  } else {
    RETORT_LAUNCH((RmsNormKernel<1, X, Y>), WarpBlocks(rows), kRowWarps * kWarp, 0, stream, x, x_stride, w,
                  rows, n, epsilon, y, y_stride, r);
  }
}

std::int64_t RmsNormBackwardWorkspace(std::int64_t rows, int n) {
  return GainBlocks(rows) * n;
}

template <typename X, typename Dy, typename Dx>
void RmsNormBackward(Stream stream, const X* x, std::int64_t x_stride, const float* w, const float* r,
                     const Dy* dy, std::int64_t dy_stride, std::int64_t rows, int n, bool accumulate, Dx* dx,
                     std::int64_t dx_stride, float* dw, float* workspace) {
  if (rows == 0) return;
  if (n % 4 == 0 && AlignedByFour(x, x_stride) && AlignedByFour(w, 4) && AlignedByFour(dy, dy_stride) &&
      AlignedByFour(dx, dx_stride)) {
    RETORT_LAUNCH((RmsNormBackwardKernel<4, X, Dy, Dx>), WarpBlocks(rows), kRowWarps * kWarp, 0, stream, x,
                  x_stride, w, r, dy, dy_stride, rows, n, accumulate, dx, dx_stride);
  } else {
    RETORT_LAUNCH((RmsNormBackwardKernel<1, X, Dy, Dx>), WarpBlocks(rows), kRowWarps * kWarp, 0, stream, x,
                  x_stride, w, r, dy, dy_stride, rows, n, accumulate, dx, dx_stride);
  }
  const unsigned columns = static_cast<unsigned>((n + kGainThreads - 1) / kGainThreads);
  RETORT_LAUNCH((GainPartials<X, Dy>), dim3(columns, static_cast<unsigned>(GainBlocks(rows))), kGainThreads,
                0, stream, x, x_stride, r, dy, dy_stride, rows, n, workspace);
  RETORT_LAUNCH(AddGainPartials, columns, kGainThreads, 0, stream, workspace, GainBlocks(rows), n, dw);
}

#define RETORT_NORM(X, Y)                                                                             \
  template void RmsNorm(Stream, const X*, std::int64_t, const float*, std::int64_t, int, float, Y*,   \
                        std::int64_t, float*);                                                        \
  template void RmsNormBackward(Stream, const X*, std::int64_t, const float*, const float*, const Y*, \
                                std::int64_t, std::int64_t, int, bool, float*, std::int64_t, float*,  \
                                float*);                                                              \
  template void RmsNormBackward(Stream, const X*, std::int64_t, const float*, const float*, const Y*, \
                                std::int64_t, std::int64_t, int, bool, Bf16*, std::int64_t, float*, float*)
RETORT_NORM(float, float);
RETORT_NORM(float, Bf16);
RETORT_NORM(Bf16, float);
RETORT_NORM(Bf16, Bf16);
#undef RETORT_NORM

}  // namespace retort::student
