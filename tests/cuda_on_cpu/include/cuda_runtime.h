// The part of the CUDA runtime that the product uses, for the build of `.cu` files as plain C++.
//
// The same C functions, types and enum values as NVIDIA's header of this name (conformance.cc is compiled
// against both); implemented on the CPU by this folder. What is not here is not used: a kernel or a host file
// that needs more fails to compile until the function exists here too.
#ifndef TESTS_CUDA_ON_CPU_INCLUDE_CUDA_RUNTIME_H_
#define TESTS_CUDA_ON_CPU_INCLUDE_CUDA_RUNTIME_H_

#include "cuda_on_cpu/atomics.h"
#include "cuda_on_cpu/device_math.h"
#include "cuda_on_cpu/launch.h"
#include "cuda_on_cpu/thread.h"
#include "cuda_on_cpu/vector_types.h"
#include "cuda_on_cpu/warp.h"
#include "cuda_runtime_api.h"

// The two typed conveniences of the C++ header.
template <class T>
cudaError_t cudaMalloc(T** pointer, size_t size) {
  return cudaMalloc(reinterpret_cast<void**>(pointer), size);
}
template <class T>
cudaError_t cudaMallocHost(T** pointer, size_t size, unsigned int flags = 0) {
  return cudaHostAlloc(reinterpret_cast<void**>(pointer), size, flags);
}
template <class T>
cudaError_t cudaHostAlloc(T** pointer, size_t size, unsigned int flags) {
  return cudaHostAlloc(reinterpret_cast<void**>(pointer), size, flags);
}
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
template <class... Parameters>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, void (*kernel)(Parameters...)) {
  return cudaFuncGetAttributes(attributes, reinterpret_cast<const void*>(kernel));
}

#endif  // TESTS_CUDA_ON_CPU_INCLUDE_CUDA_RUNTIME_H_
