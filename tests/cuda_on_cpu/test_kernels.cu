#include "student/device/cuda/launch.cuh"
#include "tests/cuda_on_cpu/test_kernels.h"

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

__global__ void AddOneKernel(const int* in, int* out, int size) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < size) out[i] = in[i] + 1;
}

__global__ void AddNumberKernel(const int* in, int* out, int size, int number) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < size) out[i] = in[i] + number;
}

__global__ void AddNumbersKernel(const int* in, int* out, int size, TwoNumbers number) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < size) out[i] = in[i] + number.small + static_cast<int>(number.large);
}

__global__ void WarpOperationsKernel(unsigned* results) {
  const unsigned lane = threadIdx.x;
  const unsigned full = 0xffffffffu;
  results[0 * 32 + lane] = __shfl_sync(full, lane, 5);
  results[1 * 32 + lane] = __shfl_sync(full, lane, 3, 8);
  results[2 * 32 + lane] = __shfl_up_sync(full, lane, 2);
  results[3 * 32 + lane] = __shfl_down_sync(full, lane, 4, 16);
  results[4 * 32 + lane] = __shfl_xor_sync(full, lane, 1);
  results[5 * 32 + lane] = __ballot_sync(full, lane % 3 == 0);
  results[6 * 32 + lane] = static_cast<unsigned>(__any_sync(full, lane == 31)) * 2 +
                           static_cast<unsigned>(__all_sync(full, lane < 32));
  results[7 * 32 + lane] = __reduce_add_sync(full, lane);
  results[8 * 32 + lane] = static_cast<unsigned>(__reduce_min_sync(full, static_cast<int>(lane) - 7));
  results[9 * 32 + lane] = __match_any_sync(full, lane / 4);
  // Two halves at different times.
  if (lane < 16) {
    results[10 * 32 + lane] = __shfl_xor_sync(0x0000ffffu, lane, 15);
  } else {
    results[10 * 32 + lane] = __reduce_max_sync(0xffff0000u, lane);
  }
  const double wide = __shfl_down_sync(full, 0.5 + lane, 1);
  results[11 * 32 + lane] = static_cast<unsigned>(2.0 * wide);
}

__global__ void VoteKernel(int* out) {
  const int odd = static_cast<int>(threadIdx.x & 1u);
  const int count = __syncthreads_count(odd);
  const int any = __syncthreads_or(odd);
  const int all = __syncthreads_and(odd);
  if (threadIdx.x == 0) {
    out[0] = count;
    out[1] = any;
    out[2] = all;
  }
}

__global__ void ShuffleWhereSomeLeftKernel(int* out) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (lane >= 20) return;
  out[threadIdx.x] = __shfl_sync(0xffffffffu, lane, 7);
}

__global__ void FaultyReverseKernel(const int* in, int* out, int size) {
  __shared__ int tile[kReverse];
  const int first = static_cast<int>(blockIdx.x) * kReverse;
  const int count = min(kReverse, size - first);
  const int i = static_cast<int>(threadIdx.x);
  if (i < count) tile[i] = in[first + i];
  // Planted: __syncthreads() belongs here.
  if (i < count) out[first + i] = tile[count - 1 - i];
}

__global__ void FaultyIndexKernel(int* out, int size) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i <= size) out[i] = i;  // planted: <
}

__global__ void FaultyDynamicSharedKernel(float* out, int size) {
  RETORT_DYNAMIC_SHARED(float, tile);
  const int i = static_cast<int>(threadIdx.x);
  tile[i] = 1.0f;  // planted: one more thread than elements
  if (i < size) out[i] = tile[i];
}

__global__ void FaultyBarrierForSomeKernel(int* out) {
  if (threadIdx.x < blockDim.x / 2) __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void FaultyBarriersApartKernel(int* out) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
    out[threadIdx.x] = 1;
  } else {
    __syncthreads();
    out[threadIdx.x] = 2;
  }
}

__global__ void FaultyShuffleForSomeKernel(int* out) {
  int value = static_cast<int>(threadIdx.x);
  if (threadIdx.x < 16) value = __shfl_xor_sync(0xffffffffu, value, 1);
  __syncwarp();
  out[threadIdx.x] = value;
}

__global__ void FaultyMaskKernel(int* out) {
  out[threadIdx.x] = static_cast<int>(__ballot_sync(0x1u, 1));
}

__global__ void CallsTrapKernel() {
  if (threadIdx.x == 3) __trap();
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

void AddOne(const int* in, int* out, int size, Stream stream) {
  RETORT_LAUNCH(AddOneKernel, (size + 127) / 128, 128, 0, stream, in, out, size);
}

void AddNumber(const int* in, int* out, int size, int number, Stream stream) {
  RETORT_LAUNCH(AddNumberKernel, (size + 127) / 128, 128, 0, stream, in, out, size, number);
}

void AddNumbers(const int* in, int* out, int size, const TwoNumbers& number, Stream stream) {
  RETORT_LAUNCH(AddNumbersKernel, (size + 127) / 128, 128, 0, stream, in, out, size, number);
}
void WarpOperations(unsigned* results, Stream stream) {
  RETORT_LAUNCH(WarpOperationsKernel, 1, 32, 0, stream, results);
}
void Vote(int* out, int threads, Stream stream) {
  RETORT_LAUNCH(VoteKernel, 1, threads, 0, stream, out);
}
void ShuffleWhereSomeLeft(int* out, int threads, Stream stream) {
  RETORT_LAUNCH(ShuffleWhereSomeLeftKernel, 1, threads, 0, stream, out);
}
void FaultyReverseWithoutBarrier(const int* in, int* out, int size, Stream stream) {
  RETORT_LAUNCH(FaultyReverseKernel, (size + kReverse - 1) / kReverse, kReverse, 0, stream, in, out, size);
}
void FaultyIndexBeyondEnd(int* out, int size, Stream stream) {
  RETORT_LAUNCH(FaultyIndexKernel, size / 128 + 1, 128, 0, stream, out, size);
}
void FaultyDynamicSharedMemory(float* out, int size, Stream stream) {
  RETORT_LAUNCH(FaultyDynamicSharedKernel, 1, size + 1, static_cast<unsigned>(size) * sizeof(float), stream,
                out, size);
}
void FaultyBarrierForSome(int* out, int threads, Stream stream) {
  RETORT_LAUNCH(FaultyBarrierForSomeKernel, 1, threads, 0, stream, out);
}
void FaultyBarriersApart(int* out, int threads, Stream stream) {
  RETORT_LAUNCH(FaultyBarriersApartKernel, 1, threads, 0, stream, out);
}
void FaultyShuffleForSome(int* out, Stream stream) {
  RETORT_LAUNCH(FaultyShuffleForSomeKernel, 1, 32, 0, stream, out);
}
void FaultyMask(int* out, Stream stream) {
  RETORT_LAUNCH(FaultyMaskKernel, 1, 32, 0, stream, out);
}
void CallsTrap(Stream stream) {
  RETORT_LAUNCH(CallsTrapKernel, 2, 32, 0, stream);
}

}  // namespace retort::cuda_on_cpu
