#include <cuda_runtime.h>

#include <cstdio>

#include "student/device/cuda/cuda_backend.h"

namespace retort::student {

int DescribeCudaDevices(std::string* text) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) {
    cudaDeviceProp properties{};
    cudaGetDeviceProperties(&properties, 0);
    char memory[64];
    std::snprintf(memory, sizeof(memory), "%.0f GiB",
                  static_cast<double>(properties.totalGlobalMem) / (1 << 30));
    *text = std::to_string(count) + (count == 1 ? " CUDA device, a " : " CUDA devices, the first a ") +
            properties.name + " with " + memory + ", compute capability " + std::to_string(properties.major) +
            "." + std::to_string(properties.minor);
    return count;
  }
  cudaGetLastError();
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const auto version = [](int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); };
  *text = "no CUDA device: ";
  if (error == cudaErrorInsufficientDriver && driver > 0) {
    *text +=
        "the driver supports CUDA " + version(driver) + ", wanted " + version(runtime) + " or newer (35)";
  } else if (error == cudaErrorInsufficientDriver) {
    *text += "no NVIDIA driver is loaded (35)";
  } else {
    *text += error == cudaSuccess ? "the driver shows none (100)"
                                  : std::string(cudaGetErrorString(error)) + " (" +
                                        std::to_string(static_cast<int>(error)) + ")";
  }
  return 0;
}

}  // namespace retort::student
