// How kernels are started and how they name their dynamic shared memory: the only two things that a plain C++
// compiler cannot read in a `.cu` file. With nvcc they are the language's own; in tests/cuda_on_cpu, where
// `.cu` files are C++, they call its scheduler.
//
//   template <class T>
//   __global__ void Scale(T* x, float factor, int size) {
//     RETORT_DYNAMIC_SHARED(float, tile);
//     …
//   }
//   RETORT_LAUNCH((Scale<float>), grid, block, tile_bytes, stream, x, 2.0f, size);
//
// A template kernel with a comma in its arguments goes in parentheses. `stream` is a retort::student::Stream.
// A launch returns nothing: a refused configuration waits in cudaGetLastError.
#ifndef STUDENT_DEVICE_CUDA_LAUNCH_CUH_
#define STUDENT_DEVICE_CUDA_LAUNCH_CUH_

#include <cuda_runtime.h>

#include "student/device/device_types.h"

#ifdef __CUDACC__

#define RETORT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  kernel<<<(grid), (block), (shared_bytes), static_cast<cudaStream_t>((stream).handle)>>>(__VA_ARGS__)

// One symbol of unknown type serves every instantiation of a template.
#define RETORT_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char retort_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(retort_dynamic_shared)

#else

#define RETORT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)             \
  ::retort::cuda_on_cpu::Launch(#kernel, kernel, (grid), (block), (shared_bytes), \
                                static_cast<cudaStream_t>((stream).handle) __VA_OPT__(, ) __VA_ARGS__)

#define RETORT_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(::retort::cuda_on_cpu::DynamicSharedMemory())

#endif

#endif  // STUDENT_DEVICE_CUDA_LAUNCH_CUH_
