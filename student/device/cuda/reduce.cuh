// Sums, maxima and prefix sums over the threads of a warp or block. The order of additions is a fixed tree:
// the same values in the same threads give the same bits, and every thread gets the result.
#ifndef STUDENT_DEVICE_CUDA_REDUCE_CUH_
#define STUDENT_DEVICE_CUDA_REDUCE_CUH_

#include <cuda_runtime.h>

#include <cstdint>

namespace retort::student {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

// All 32 lanes take part. Neighbours at distance 16, 8, … 1 add up: both sides of a pair add the same two
// numbers.
template <typename T>
__device__ inline T WarpSum(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

template <typename T>
__device__ inline T WarpMax(T value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, distance);
    value = other > value ? other : value;
  }
  return value;
}

// Of a one-dimensional block of whole warps; warps[32] is shared memory that may be used again at once.
template <typename T>
__device__ inline T BlockSum(T value, T* warps) {
  value = WarpSum(value);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  T sum = warps[0];
  for (unsigned w = 1; w < blockDim.x / kWarp; ++w) sum += warps[w];
  __syncthreads();
  return sum;
}

template <typename T>
__device__ inline T BlockMax(T value, T* warps) {
  value = WarpMax(value);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  T best = warps[0];
  for (unsigned w = 1; w < blockDim.x / kWarp; ++w) best = warps[w] > best ? warps[w] : best;
  __syncthreads();
  return best;
}

// Sum of the values of the threads before this one; *total gets the sum of all. Block and warps as above.
__device__ inline std::int32_t BlockPrefix(std::int32_t value, std::int32_t* warps, std::int32_t* total) {
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  std::int32_t through = value;
  for (unsigned distance = 1; distance < kWarp; distance *= 2) {
    const std::int32_t before = __shfl_up_sync(kAllLanes, through, distance);
    if (lane >= distance) through += before;
  }
  if (lane == kWarp - 1) warps[warp] = through;
  __syncthreads();
  std::int32_t before = 0;
  *total = 0;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) {
    before += w < warp ? warps[w] : 0;
    *total += warps[w];
  }
  __syncthreads();
  return before + through - value;
}

// A number whose unsigned order is that of (value, lower index first): the largest of these over a set is its
// largest value, at the lowest index on a tie. NaN comes below every number; no rank is 0, so 0 can stand for
// "taken" or "none". The rank is the upper half; RankedIndex takes the index out again.
__device__ inline std::uint32_t Rank(float value) {
  if (value != value) return 1;
  const std::uint32_t bits = __float_as_uint(value + 0.0f);  // -0 is 0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ inline unsigned long long Ranked(std::uint32_t rank, int index) {
  return static_cast<unsigned long long>(rank) << 32 | (0xffffffffu - static_cast<std::uint32_t>(index));
}
__device__ inline int RankedIndex(unsigned long long ranked) {
  return static_cast<int>(0xffffffffu - static_cast<std::uint32_t>(ranked));
}

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_REDUCE_CUH_
