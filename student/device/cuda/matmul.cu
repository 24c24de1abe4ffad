#include <cassert>
#include <limits>

#include "student/device/cuda/matmul.h"

namespace retort::student {
namespace {

cudaDataType_t TypeOf(Element element) {
  return element == Element::kF32 ? CUDA_R_32F : CUDA_R_16BF;
}

int Int(std::int64_t value) {
  assert(value >= 0 && value <= std::numeric_limits<int>::max());
  return static_cast<int>(value);
}

cublasOperation_t OperationOf(bool transpose) {
  return transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
}

}  // namespace

CudaMatmul::~CudaMatmul() {
  if (handle_ != nullptr) cublasDestroy(handle_);
}

cublasStatus_t CudaMatmul::Open(cudaStream_t stream, void* workspace) {
  cublasStatus_t status = cublasCreate(&handle_);
  if (status != CUBLAS_STATUS_SUCCESS) return status;
  status = cublasSetStream(handle_, stream);  // before the workspace, which it would take away
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = cublasSetWorkspace(handle_, workspace, static_cast<std::size_t>(kCublasWorkspaceBytes));
  }
  // Sums stay in fp32 where cuBLAS splits the depth of a bf16 product.
  if (status == CUBLAS_STATUS_SUCCESS) {
    status = cublasSetMathMode(
        handle_,
        static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION));
  }
  if (status == CUBLAS_STATUS_SUCCESS) status = cublasSetAtomicsMode(handle_, CUBLAS_ATOMICS_NOT_ALLOWED);
  return status;
}

cublasStatus_t CudaMatmul::Multiply(const Product& p) {
  assert(p.a.element == p.b.element);
  assert(p.a.element == Element::kBf16 || p.c.element == Element::kF32);
  if (p.m == 0 || p.n == 0) return CUBLAS_STATUS_SUCCESS;
  const float alpha = 1, beta = p.accumulate ? 1 : 0;
  return cublasGemmEx(handle_, OperationOf(p.transpose_b), OperationOf(p.transpose_a), Int(p.n), Int(p.m),
                      Int(p.k), &alpha, p.b.data, TypeOf(p.b.element), Int(p.b_stride), p.a.data,
                      TypeOf(p.a.element), Int(p.a_stride), &beta, p.c.data, TypeOf(p.c.element),
                      Int(p.c_stride), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

void CudaMatmul::ListPointers(std::span<const Product> products, std::vector<const void*>* pointers) {
  pointers->clear();
  for (const Product& p : products) pointers->push_back(p.b.data);
  for (const Product& p : products) pointers->push_back(p.a.data);
  for (const Product& p : products) pointers->push_back(p.c.data);
}

cublasStatus_t CudaMatmul::MultiplyGrouped(std::span<const Product> products, bool tf32,
                                           const void* const* pointers) {
  if (products.empty()) return CUBLAS_STATUS_SUCCESS;
  const Element element = products[0].a.element;
  const std::size_t count = products.size();
  for (auto* values : {&m_, &n_, &k_, &a_stride_, &b_stride_, &c_stride_}) values->resize(count);
  transpose_a_.resize(count);
  transpose_b_.resize(count);
  beta_.resize(count);
  alpha_.assign(count, 1.0f);
  group_size_.assign(count, 1);
  for (std::size_t i = 0; i < count; ++i) {
    const Product& p = products[i];
    assert(p.m > 0 && p.n > 0 && p.k > 0);
    assert(p.a.element == element && p.b.element == element && p.c.element == element);
    transpose_a_[i] = OperationOf(p.transpose_a);
    transpose_b_[i] = OperationOf(p.transpose_b);
    m_[i] = Int(p.m);
    n_[i] = Int(p.n);
    k_[i] = Int(p.k);
    a_stride_[i] = Int(p.a_stride);
    b_stride_[i] = Int(p.b_stride);
    c_stride_[i] = Int(p.c_stride);
    beta_[i] = p.accumulate ? 1.0f : 0.0f;
  }
  const cudaDataType_t type = TypeOf(element);
  return cublasGemmGroupedBatchedEx(handle_, transpose_b_.data(), transpose_a_.data(), n_.data(), m_.data(),
                                    k_.data(), alpha_.data(), pointers, type, b_stride_.data(),
                                    pointers + count, type, a_stride_.data(), beta_.data(),
                                    const_cast<void* const*>(pointers + 2 * count), type, c_stride_.data(),
                                    Int(static_cast<std::int64_t>(count)), group_size_.data(),
                                    tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F);
}

}  // namespace retort::student
