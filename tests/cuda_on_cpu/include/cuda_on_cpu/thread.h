// What a CUDA thread sees of itself: its indices, the words that mark functions and shared memory, the block
// barrier.
//
// One launch runs at a time in a process and its blocks run one after another, so a `__shared__` variable is
// one static object. Nothing clears it between blocks: a kernel that reads what it has not written sees an
// earlier block. In the fibre back end the indices are plain globals that the scheduler sets at each switch;
// with one OS thread for each CUDA thread they are thread-local.
#ifndef TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_THREAD_H_
#define TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_THREAD_H_

#include <cstddef>
#include <cstdint>
#include <source_location>

#include "vector_types.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

#ifdef RETORT_CUDA_ON_CPU_THREADS
#define RETORT_CUDA_ON_CPU_INDEX extern thread_local
#else
#define RETORT_CUDA_ON_CPU_INDEX extern
#endif
RETORT_CUDA_ON_CPU_INDEX uint3 threadIdx;
RETORT_CUDA_ON_CPU_INDEX uint3 blockIdx;
RETORT_CUDA_ON_CPU_INDEX dim3 blockDim;
RETORT_CUDA_ON_CPU_INDEX dim3 gridDim;
#undef RETORT_CUDA_ON_CPU_INDEX
inline constexpr int warpSize = 32;

namespace retort::cuda_on_cpu {

// The place of a barrier or warp operation in the source: all threads must meet at the same one.
struct Site {
  const char* file;
  std::uint32_t line;
};
inline Site SiteOf(const std::source_location& where) {
  return {where.file_name(), where.line()};
}

void BlockBarrier(Site site);
int BlockBarrierCount(int predicate, Site site);  // how many threads gave a predicate other than zero
void* DynamicSharedMemory();  // of the block that runs; 16-byte aligned, as long as the launch said
[[noreturn]] void Trap(Site site);

}  // namespace retort::cuda_on_cpu

inline void __syncthreads(const std::source_location& where = std::source_location::current()) {
  retort::cuda_on_cpu::BlockBarrier(retort::cuda_on_cpu::SiteOf(where));
}
inline int __syncthreads_count(int predicate,
                               const std::source_location& where = std::source_location::current()) {
  return retort::cuda_on_cpu::BlockBarrierCount(predicate, retort::cuda_on_cpu::SiteOf(where));
}
inline int __syncthreads_or(int predicate,
                            const std::source_location& where = std::source_location::current()) {
  return retort::cuda_on_cpu::BlockBarrierCount(predicate, retort::cuda_on_cpu::SiteOf(where)) != 0;
}
inline int __syncthreads_and(int predicate,
                             const std::source_location& where = std::source_location::current()) {
  const int threads = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  return retort::cuda_on_cpu::BlockBarrierCount(predicate, retort::cuda_on_cpu::SiteOf(where)) == threads;
}
[[noreturn]] inline void __trap(const std::source_location& where = std::source_location::current()) {
  retort::cuda_on_cpu::Trap(retort::cuda_on_cpu::SiteOf(where));
}
inline void __threadfence() {}  // blocks run one after another
inline void __threadfence_block() {}

#endif  // TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_THREAD_H_
