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
// A template kernel with a comma in its arguments goes in parentheses. `stream` is a retort::student::Stream;
// when its `kept` is set, the launch is kept there with its arguments and nothing starts. A launch returns
// nothing: a refused configuration waits in cudaGetLastError.
#ifndef STUDENT_DEVICE_CUDA_LAUNCH_CUH_
#define STUDENT_DEVICE_CUDA_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <cstddef>
#include <type_traits>
#include <utility>

#include "student/device/cuda/command_list.h"
#include "student/device/device_types.h"

#ifdef __CUDACC__

#define RETORT_START_KERNEL(name, kernel, grid, block, shared_bytes, stream, ...) \
  kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)

// One symbol of unknown type serves every instantiation of a template.
#define RETORT_DYNAMIC_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char retort_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(retort_dynamic_shared)

#else

#define RETORT_START_KERNEL(name, kernel, grid, block, shared_bytes, stream, ...) \
  ::retort::cuda_on_cpu::Launch(name, kernel, grid, block, shared_bytes, stream __VA_OPT__(, ) __VA_ARGS__)

#define RETORT_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(::retort::cuda_on_cpu::DynamicSharedMemory())

#endif

#define RETORT_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)         \
  ::retort::student::LaunchKernel(#kernel, kernel, grid, block, shared_bytes, \
                                  stream __VA_OPT__(, ) __VA_ARGS__)

namespace retort::student {

template <typename... P, std::size_t... kIndex>
CommandResult StartKept(const std::byte* arguments, cudaStream_t stream, std::index_sequence<kIndex...>) {
  const CommandList::KernelStart start = CommandList::StartOf(arguments);
  auto* const kernel = reinterpret_cast<void (*)(P...)>(const_cast<void*>(start.kernel));
  const dim3 grid(start.grid[0], start.grid[1], start.grid[2]);
  const dim3 block(start.block[0], start.block[1], start.block[2]);
  RETORT_START_KERNEL(start.name, kernel, grid, block, start.shared_bytes, stream,
                      CommandList::ArgumentOf<kIndex, P...>(arguments)...);
  return {cudaGetLastError()};
}

// What RETORT_LAUNCH is.
template <typename... P>
void LaunchKernel(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes,
                  const Stream& stream, std::type_identity_t<P>... arguments) {
  if (stream.kept != nullptr) {
    constexpr CommandList::Execute start = [](const std::byte* kept, cudaStream_t to, void*) {
      return StartKept<P...>(kept, to, std::index_sequence_for<P...>());
    };
    stream.kept->AddKernel(start, name, kernel, grid, block, shared_bytes, arguments...);
    return;
  }
  RETORT_START_KERNEL(name, kernel, grid, block, shared_bytes, static_cast<cudaStream_t>(stream.handle),
                      arguments...);
}

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_LAUNCH_CUH_
