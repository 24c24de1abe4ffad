// Matrix products on the device by cuBLAS: the one place that knows that cuBLAS counts columns first. For
// code that the CUDA compiler, or the rig of tests/cuda_on_cpu, reads.
//
// A row-major matrix [r, c] with rows `stride` apart is, read column-major, its transpose [c, r] with leading
// dimension `stride`. So C = A*B row-major is asked for as C^T = B^T * A^T column-major: operands change
// places, m and n change places, transposes stay with their operand.
//
// Types: fp32 operands are multiplied in fp32, never TF32; bf16 operands with fp32 sums, into fp32 or bf16.
// cuBLAS runs with a workspace of its own and a fixed algorithm choice, so the same shapes give the same bits
// (NVIDIA, cuBLAS documentation, "Results reproducibility").
//
// Grouped products take one type for operands and result
// (docs/decisions/0006-gradients-of-experts-in-tf32.md).
#ifndef STUDENT_DEVICE_CUDA_MATMUL_H_
#define STUDENT_DEVICE_CUDA_MATMUL_H_

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <span>
#include <vector>

#include "student/device/backend.h"

namespace retort::student {

// Bytes of workspace that cuBLAS gets: what NVIDIA recommends for sm_90, the largest of our architectures.
inline constexpr std::int64_t kCublasWorkspaceBytes = std::int64_t{32} << 20;

class CudaMatmul {
 public:
  CudaMatmul() = default;
  ~CudaMatmul();
  CudaMatmul(const CudaMatmul&) = delete;
  CudaMatmul& operator=(const CudaMatmul&) = delete;

  // workspace: kCublasWorkspaceBytes of device memory; lives as long as this, as does the stream.
  cublasStatus_t Open(cudaStream_t stream, void* workspace);

  cublasStatus_t Multiply(const Product& product);

  // Products of one pair of types, all as the first: operands and result all fp32 or all bf16. tf32: fp32
  // operands that are exact in TF32's ten bits, such as widened bf16, multiplied by tensor cores with fp32
  // sums. pointers: the device's copy of what ListPointers lists for the same products. None of m, n, k is 0.
  static void ListPointers(std::span<const Product> products, std::vector<const void*>* pointers);
  cublasStatus_t MultiplyGrouped(std::span<const Product> products, bool tf32, const void* const* pointers);

 private:
  cublasHandle_t handle_ = nullptr;
  // Arguments of a grouped call, kept to save allocations.
  std::vector<cublasOperation_t> transpose_a_, transpose_b_;
  std::vector<int> m_, n_, k_, a_stride_, b_stride_, c_stride_, group_size_;
  std::vector<float> alpha_, beta_;
};

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_MATMUL_H_
