#include "tests/cuda_on_cpu/test_kernels.h"

#include "student/device/cuda/launch.cuh"

namespace retort::cuda_on_cpu {
namespace {

constexpr int kReverse = 96;

__global__ void FillIndexKernel(int* out, int size) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < size) out[i] = i;
}

__global__ void ReverseKernel(const int* __restrict__ in, int* __restrict__ out, int size) {
  __shared__ int tile[kReverse];
  const int first = static_cast<int>(blockIdx.x) * kReverse;
  const int count = min(kReverse, size - first);
  const int i = static_cast<int>(threadIdx.x);
  if (i < count) tile[i] = in[first + i];
  __syncthreads();
  if (i < count) out[first + i] = tile[count - 1 - i];
}

__device__ __forceinline__ float WarpSum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads) SumRowsKernel(const float* in, float* out, int columns) {
  RETORT_DYNAMIC_SHARED(float, partial);
  const float* row = in + static_cast<long>(blockIdx.x) * columns;
  float sum = 0.0f;
  for (int c = static_cast<int>(threadIdx.x); c < columns; c += kThreads) sum += row[c];
  sum = WarpSum(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = WarpSum(threadIdx.x < kThreads / 32 ? partial[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
  }
}

__global__ void CountBitsKernel(const int* in, unsigned* total, int size) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const unsigned odd = __ballot_sync(0xffffffffu, i < size && (in[i] & 1) != 0);
  if (threadIdx.x % 32 == 0) atomicAdd(total, static_cast<unsigned>(__popc(odd)));
}

__global__ void ManyBarriersKernel(int* out, int barriers) {
  int passed = 0;
  for (int i = 0; i < barriers; ++i) {
    __syncthreads();
    ++passed;
  }
  out[blockIdx.x * blockDim.x + threadIdx.x] = passed;
}

}  // namespace

void FillIndex(int* out, int size, Stream stream) {
  RETORT_LAUNCH(FillIndexKernel, (size + 127) / 128, 128, 0, stream, out, size);
}
void ReverseInBlocks(const int* in, int* out, int size, Stream stream) {
  RETORT_LAUNCH(ReverseKernel, (size + kReverse - 1) / kReverse, kReverse, 0, stream, in, out, size);
}
void SumRows(const float* in, float* out, int rows, int columns, Stream stream) {
  RETORT_LAUNCH((SumRowsKernel<128>), rows, 128, 4 * sizeof(float), stream, in, out, columns);
}
void CountBits(const int* in, unsigned* total, int size, Stream stream) {
  RETORT_LAUNCH(CountBitsKernel, (size + 63) / 64, 64, 0, stream, in, total, size);
}
void ManyBarriers(int* out, int blocks, int threads, int barriers, Stream stream) {
  RETORT_LAUNCH(ManyBarriersKernel, blocks, threads, 0, stream, out, barriers);
}

}  // namespace retort::cuda_on_cpu
