// How threads are laid over a matrix of rows. Elementwise kernels: a power of two of neighbouring threads
// share a row, so that wide rows are read by whole blocks and short ones do not waste threads. Reducing
// kernels: one warp has one row, neighbouring lanes neighbouring columns.
#ifndef STUDENT_DEVICE_CUDA_ROWS_CUH_
#define STUDENT_DEVICE_CUDA_ROWS_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "student/device/cuda/reduce.cuh"

namespace retort::student {

inline constexpr int kRowThreads = 256;

struct RowLayout {
  unsigned blocks;
  int lanes;  // threads of one row: a power of two up to kRowThreads
};

// For rows of `columns` elements (an element is what a thread takes at once). rows > 0, columns > 0.
inline RowLayout LayRows(std::int64_t rows, std::int64_t columns) {
  int lanes = 1;
  while (lanes < kRowThreads && lanes < columns) lanes *= 2;
  const std::int64_t rows_per_block = kRowThreads / lanes;
  return {static_cast<unsigned>((rows + rows_per_block - 1) / rows_per_block), lanes};
}

__device__ inline std::int64_t RowOfThread(int lanes) {
  return static_cast<std::int64_t>(blockIdx.x) * (kRowThreads / lanes) + threadIdx.x / lanes;
}
__device__ inline int LaneOfThread(int lanes) {
  return static_cast<int>(threadIdx.x) % lanes;
}

// One warp per row.
inline constexpr int kRowWarps = 4;  // warps of a block
inline unsigned WarpBlocks(std::int64_t rows) {
  return static_cast<unsigned>((rows + kRowWarps - 1) / kRowWarps);
}
__device__ inline std::int64_t RowOfWarp() {
  return static_cast<std::int64_t>(blockIdx.x) * kRowWarps + threadIdx.x / kWarp;
}
__device__ inline int LaneOfWarp() {
  return static_cast<int>(threadIdx.x) % kWarp;
}

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_ROWS_CUH_
