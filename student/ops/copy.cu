#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/rows.cuh"
#include "student/device/cuda/values.cuh"
#include "student/ops/copy.h"

namespace retort::student {
namespace {

// Neighbouring threads take neighbouring groups of kWidth columns of a row.
template <int kWidth, typename From, typename To>
__global__ void CopyColumnsKernel(int lanes, const From* x, std::int64_t x_stride, std::int64_t rows, int n,
                                  To* y, std::int64_t y_stride) {
  const std::int64_t row = RowOfThread(lanes);
  if (row >= rows) return;
  for (int c = LaneOfThread(lanes) * kWidth; c < n; c += lanes * kWidth)
    Store(Load<kWidth>(x + row * x_stride + c), y + row * y_stride + c);
}

template <int kWidth, typename From>
__global__ void AddKernel(const From* x, std::int64_t count, float* y) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * kRowThreads + threadIdx.x) * kWidth;
  if (i >= count) return;
  const Pack<kWidth> from = Load<kWidth>(x + i);
  Pack<kWidth> to = Load<kWidth>(y + i);
  for (int j = 0; j < kWidth; ++j) to.v[j] += from.v[j];
  Store(to, y + i);
}

template <int kWidth, typename From, typename To>
void Copy(Stream stream, const From* x, std::int64_t x_stride, std::int64_t rows, int n, To* y,
          std::int64_t y_stride) {
  const RowLayout layout = LayRows(rows, (n + kWidth - 1) / kWidth);
  RETORT_LAUNCH((CopyColumnsKernel<kWidth, From, To>), layout.blocks, kRowThreads, 0, stream, layout.lanes, x,
                x_stride, rows, n, y, y_stride);
}

template <int kWidth, typename From>
void Add(Stream stream, const From* x, std::int64_t count, float* y) {
  const std::int64_t per_block = std::int64_t{kRowThreads} * kWidth;
  RETORT_LAUNCH((AddKernel<kWidth, From>), (count + per_block - 1) / per_block, kRowThreads, 0, stream, x,
                count, y);
}

}  // namespace

template <typename From, typename To>
void CopyColumns(Stream stream, const From* x, std::int64_t x_stride, std::int64_t rows, int n, To* y,
                 std::int64_t y_stride) {
  if (rows == 0 || n == 0) return;
  if (n % 4 == 0 && AlignedByFour(x, x_stride) && AlignedByFour(y, y_stride)) {
    Copy<4>(stream, x, x_stride, rows, n, y, y_stride);
  } else {
    Copy<1>(stream, x, x_stride, rows, n, y, y_stride);
  }
}

template <typename From>
void AddInto(Stream stream, const From* x, std::int64_t count, float* y) {
  if (count == 0) return;
  if (count % 4 == 0 && AlignedByFour(x, 4) && AlignedByFour(y, 4)) {
    Add<4>(stream, x, count, y);
  } else {
    Add<1>(stream, x, count, y);
  }
}

void SetZero(Stream stream, void* memory, std::size_t bytes) {
  if (bytes == 0) return;
  if (stream.kept != nullptr) {
    stream.kept->AddZero(memory, static_cast<std::int64_t>(bytes));
    return;
  }
  // A refusal stays with the runtime, as that of a launch does.
  static_cast<void>(cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream.handle)));
}

template void CopyColumns(Stream, const float*, std::int64_t, std::int64_t, int, float*, std::int64_t);
template void CopyColumns(Stream, const float*, std::int64_t, std::int64_t, int, Bf16*, std::int64_t);
template void CopyColumns(Stream, const Bf16*, std::int64_t, std::int64_t, int, float*, std::int64_t);
template void CopyColumns(Stream, const Bf16*, std::int64_t, std::int64_t, int, Bf16*, std::int64_t);
template void AddInto(Stream, const float*, std::int64_t, float*);
template void AddInto(Stream, const Bf16*, std::int64_t, float*);

}  // namespace retort::student
