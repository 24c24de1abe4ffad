#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstdio>

#include "student/device/cuda_library.h"

extern "C" RetortCudaProbe RetortCudaProbeDevices;

extern "C" int RetortCudaProbeDevices(char* text, unsigned long size) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    std::snprintf(text, size, "no CUDA device: %s (%d)",
                  error == cudaSuccess ? "the driver shows none" : cudaGetErrorString(error),
                  static_cast<int>(error));
    return 0;
  }
  cublasHandle_t handle = nullptr;
  const cublasStatus_t status = cublasCreate(&handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    std::snprintf(text, size, "no CUDA device: cuBLAS does not start on the first one: %s",
                  cublasGetStatusString(status));
    return 0;
  }
  cublasDestroy(handle);
  cudaDeviceProp properties{};
  cudaGetDeviceProperties(&properties, 0);
  std::snprintf(text, size, "%d CUDA device%s, the first a %s with %.0f GiB, compute capability %d.%d", count,
                count == 1 ? "" : "s", properties.name,
                static_cast<double>(properties.totalGlobalMem) / (1024.0 * 1024.0 * 1024.0), properties.major,
                properties.minor);
  return count;
}
