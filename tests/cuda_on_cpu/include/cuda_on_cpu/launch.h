// How a kernel is started without `<<< >>>`: student/device/cuda/launch.cuh expands to this.
#ifndef TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_LAUNCH_H_
#define TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_LAUNCH_H_

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../cuda_runtime_api.h"
#include "thread.h"

namespace retort::cuda_on_cpu {

// Checks the configuration as a device does (the error waits in cudaGetLastError) and queues the kernel on
// the stream. `body` runs once for each thread.
void LaunchBody(const char* name, const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes,
                cudaStream_t stream, std::function<void()> body);

// Ends the process with a report when `pointer`, an argument of kernel `name`, is neither null nor memory
// that a device can reach. Pointers inside structures are not seen.
void CheckKernelPointer(const char* name, int argument, const void* pointer);

template <class T>
void CheckKernelArgument(const char* name, int argument, const T& value) {
  if constexpr (std::is_pointer_v<T>) {
    CheckKernelPointer(name, argument, reinterpret_cast<const void*>(value));
  } else {
    static_assert(std::is_trivially_copyable_v<T>, "kernel arguments are copied to the device as bytes");
  }
}

template <class... Parameters, class... Arguments>
void Launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Arguments&&... arguments) {
  std::tuple<std::decay_t<Parameters>...> values(
      static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  std::apply(
      [name](const auto&... value) {
        int at = 0;
        (CheckKernelArgument(name, at++, value), ...);
        (void)at;
      },
      values);
  LaunchBody(name, reinterpret_cast<const void*>(kernel), grid, block, shared_bytes, stream,
             [kernel, values] { std::apply(kernel, values); });
}

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_LAUNCH_H_
