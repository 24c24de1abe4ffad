// Kernel launches and the attributes of kernels.
#include <cstdio>
#include <cstdlib>

#include "cuda_on_cpu/launch.h"
#include "tests/cuda_on_cpu/grid.h"
#include "tests/cuda_on_cpu/runtime.h"

namespace retort::cuda_on_cpu {
namespace {

constexpr int kSharedDefault = 48 * 1024;
constexpr int kSharedLargest = 227 * 1024;

cudaError_t CheckConfiguration(dim3 grid, dim3 block, std::size_t shared_bytes, int shared_limit) {
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.x > 1024 || block.y > 1024 || block.z > 64) {
    return cudaErrorInvalidConfiguration;
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) {
    return cudaErrorInvalidConfiguration;
  }
  return shared_bytes > static_cast<std::size_t>(shared_limit) ? cudaErrorInvalidValue : cudaSuccess;
}

}  // namespace

void LaunchBody(const char* name, const void* kernel, dim3 grid, dim3 block, std::size_t shared_bytes,
                cudaStream_t stream, std::function<void()> body) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) {
    Failed(error);
    return;
  }
  Runtime& runtime = TheRuntime();
  const std::lock_guard<std::mutex> hold(runtime.lock);
  const auto limit = runtime.dynamic_shared_limits.find(kernel);
  const cudaError_t error =
      CheckConfiguration(grid, block, shared_bytes,
                         limit == runtime.dynamic_shared_limits.end() ? kSharedDefault : limit->second);
  if (error != cudaSuccess) {
    Failed(error);
    return;
  }
  ++runtime.launches;
  Failed(Enqueue(stream, [name, grid, block, shared_bytes, body = std::move(body)] {
    static std::uint64_t launch = 0;  // under the lock
    RunGrid({name, grid, block, shared_bytes, body, (++launch & 1u) == 0});
  }));
}

void CheckKernelPointer(const char* name, int argument, const void* pointer) {
  if (pointer == nullptr) return;
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (TheRuntime().memory.Find(pointer).kind != DeviceMemory::Kind::kUnknown) return;
  std::fprintf(stderr, "cuda_on_cpu: kernel %s: argument %d is %p, which is no memory of a device%s\n", name,
               argument, pointer,
               TheRuntime().memory.InDeviceRange(pointer) ? " (freed, or beyond an allocation)" : "");
  std::abort();
}

}  // namespace retort::cuda_on_cpu

using namespace retort::cuda_on_cpu;

extern "C" {

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (kernel == nullptr) return Failed(cudaErrorInvalidDeviceFunction);
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
    return value < -1 || value > 100 ? Failed(cudaErrorInvalidValue) : cudaSuccess;
  }
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > kSharedLargest) {
    return Failed(cudaErrorInvalidValue);
  }
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  TheRuntime().dynamic_shared_limits[kernel] = value;
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  if (const cudaError_t error = DeviceError(); error != cudaSuccess) return Failed(error);
  if (attributes == nullptr || kernel == nullptr) return Failed(cudaErrorInvalidValue);
  *attributes = {};  // registers and static shared memory are the device compiler's to say
  attributes->maxThreadsPerBlock = 1024;
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  const auto limit = TheRuntime().dynamic_shared_limits.find(kernel);
  attributes->maxDynamicSharedSizeBytes =
      limit == TheRuntime().dynamic_shared_limits.end() ? kSharedDefault : limit->second;
  return cudaSuccess;
}

}  // extern "C"
