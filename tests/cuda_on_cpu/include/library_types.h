// The element types that NVIDIA's libraries name, as far as the product uses them.
#ifndef TESTS_CUDA_ON_CPU_INCLUDE_LIBRARY_TYPES_H_
#define TESTS_CUDA_ON_CPU_INCLUDE_LIBRARY_TYPES_H_

typedef enum cudaDataType_t {
  CUDA_R_32F = 0,
  CUDA_R_64F = 1,
  CUDA_R_16F = 2,
  CUDA_R_8I = 3,
  CUDA_R_32I = 10,
  CUDA_R_16BF = 14,
} cudaDataType;

#endif  // TESTS_CUDA_ON_CPU_INCLUDE_LIBRARY_TYPES_H_
