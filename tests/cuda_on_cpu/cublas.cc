// cuBLAS handles and products: arguments checked as documented, the product itself queued on the handle's
// stream.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cublas_v2.h"
#include "tests/cuda_on_cpu/gemm.h"
#include "tests/cuda_on_cpu/runtime.h"

using namespace retort::cuda_on_cpu;

struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
};

namespace {

// The handle's product as the caller wrote it, before any check.
struct Call {
  const char* function;
  cublasOperation_t transa, transb;
  int m, n, k;
  cudaDataType atype, btype, ctype;
  int lda, ldb, ldc;
  cublasComputeType_t compute;
};

bool IsOperation(cublasOperation_t operation) {
  return operation >= CUBLAS_OP_N && operation <= CUBLAS_OP_C;
}

cublasStatus_t CheckSizes(const Call& call) {
  if (!IsOperation(call.transa) || !IsOperation(call.transb)) return CUBLAS_STATUS_INVALID_VALUE;
  if (call.m < 0 || call.n < 0 || call.k < 0) return CUBLAS_STATUS_INVALID_VALUE;
  const int a_rows = call.transa == CUBLAS_OP_N ? call.m : call.k;
  const int b_rows = call.transb == CUBLAS_OP_N ? call.k : call.n;
  const bool fits =
      call.lda >= std::max(1, a_rows) && call.ldb >= std::max(1, b_rows) && call.ldc >= std::max(1, call.m);
  return fits ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

bool IsNumber(cudaDataType type) {
  return type == CUDA_R_32F || type == CUDA_R_16BF;
}
Number NumberOf(cudaDataType type) {
  return type == CUDA_R_32F ? Number::kF32 : Number::kBf16;
}

// Of the combinations that the documentation lists, those in fp32 and bf16. Half, double and integer ones
// exist on a device and not here; the product uses none.
cublasStatus_t CheckTypes(const Call& call, bool grouped) {
  if (!IsNumber(call.atype) || call.atype != call.btype || !IsNumber(call.ctype))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  switch (call.compute) {
    case CUBLAS_COMPUTE_32F:
    case CUBLAS_COMPUTE_32F_PEDANTIC:
      if (call.atype == CUDA_R_32F)
        return call.ctype == CUDA_R_32F ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
      if (!grouped) return CUBLAS_STATUS_SUCCESS;
      // Grouped: a C of the operands' type only, and no pedantic bf16.
      return call.ctype == CUDA_R_16BF && call.compute == CUBLAS_COMPUTE_32F ? CUBLAS_STATUS_SUCCESS
                                                                             : CUBLAS_STATUS_NOT_SUPPORTED;
    case CUBLAS_COMPUTE_32F_FAST_16BF:
      if (grouped) return CUBLAS_STATUS_NOT_SUPPORTED;
      [[fallthrough]];
    case CUBLAS_COMPUTE_32F_FAST_TF32:
      return call.atype == CUDA_R_32F && call.ctype == CUDA_R_32F ? CUBLAS_STATUS_SUCCESS
                                                                  : CUBLAS_STATUS_NOT_SUPPORTED;
    default:
      return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

Rounding RoundingOf(const cublasContext& context, const Call& call) {
  if (call.atype != CUDA_R_32F) return Rounding::kNone;
  if (call.compute == CUBLAS_COMPUTE_32F_FAST_16BF) return Rounding::kBf16;
  if (call.compute == CUBLAS_COMPUTE_32F_FAST_TF32) return Rounding::kTf32;
  const bool tensor =
      (context.math & 0xf) == CUBLAS_TF32_TENSOR_OP_MATH && call.compute == CUBLAS_COMPUTE_32F;
  return tensor ? Rounding::kTf32 : Rounding::kNone;
}

Gemm GemmOf(const cublasContext& context, const Call& call, float alpha, float beta) {
  Gemm gemm;
  gemm.m = call.m;
  gemm.n = call.n;
  gemm.k = call.k;
  gemm.alpha = alpha;
  gemm.beta = beta;
  gemm.a = {nullptr, NumberOf(call.atype), call.lda, call.transa != CUBLAS_OP_N};
  gemm.b = {nullptr, NumberOf(call.btype), call.ldb, call.transb != CUBLAS_OP_N};
  gemm.c_number = NumberOf(call.ctype);
  gemm.c_leading = call.ldc;
  gemm.rounding = RoundingOf(context, call);
  return gemm;
}

struct Bytes {
  const char* begin = nullptr;
  std::size_t size = 0;
};

// What a matrix of rows x columns touches; nothing when it is empty.
Bytes Extent(const void* data, Number number, std::int64_t rows, std::int64_t columns, std::int64_t leading) {
  if (rows == 0 || columns == 0) return {};
  return {static_cast<const char*>(data),
          BytesOf(number) * static_cast<std::size_t>(leading * (columns - 1) + rows)};
}

void CheckExtent(const char* function, char name, Bytes bytes, std::size_t element) {
  if (bytes.size == 0) return;
  const DeviceMemory& memory = TheRuntime().memory;
  if (memory.IsDevice(bytes.begin, bytes.size) &&
      reinterpret_cast<std::uintptr_t>(bytes.begin) % element == 0)
    return;
  const DeviceMemory::Range range = memory.Find(bytes.begin);
  if (range.kind != DeviceMemory::Kind::kDevice) {
    std::fprintf(stderr, "cuda_on_cpu: %s: %c = %p is no device memory\n", function, name,
                 static_cast<const void*>(bytes.begin));
  } else {
    std::fprintf(stderr,
                 "cuda_on_cpu: %s: %c is %zu bytes at byte %td of an allocation of %zu (elements of %zu)\n",
                 function, name, bytes.size, bytes.begin - range.begin, range.bytes, element);
  }
  std::abort();
}

bool Overlap(Bytes a, Bytes b) {
  return a.size > 0 && b.size > 0 && a.begin < b.begin + b.size && b.begin < a.begin + a.size;
}

// When the stream comes to it: the pointers may have been written by work before.
void CheckMemory(const char* function, const Gemm& gemm) {
  const bool reads = gemm.alpha != 0.0f && gemm.m > 0 && gemm.n > 0;
  const Bytes a = reads ? Extent(gemm.a.data, gemm.a.number, gemm.a.transposed ? gemm.k : gemm.m,
                                 gemm.a.transposed ? gemm.m : gemm.k, gemm.a.leading)
                        : Bytes{};
  const Bytes b = reads ? Extent(gemm.b.data, gemm.b.number, gemm.b.transposed ? gemm.n : gemm.k,
                                 gemm.b.transposed ? gemm.k : gemm.n, gemm.b.leading)
                        : Bytes{};
  const Bytes c = Extent(gemm.c, gemm.c_number, gemm.m, gemm.n, gemm.c_leading);
  CheckExtent(function, 'A', a, BytesOf(gemm.a.number));
  CheckExtent(function, 'B', b, BytesOf(gemm.b.number));
  CheckExtent(function, 'C', c, BytesOf(gemm.c_number));
  // Rows of one wide matrix may interleave; identical starts or a contiguous C may not.
  const bool dense = gemm.c_leading == gemm.m;
  if ((dense && (Overlap(a, c) || Overlap(b, c))) ||
      (c.size > 0 && (a.begin == c.begin || b.begin == c.begin))) {
    std::fprintf(stderr, "cuda_on_cpu: %s: C overlaps A or B\n", function);
    std::abort();
  }
}

cublasStatus_t StatusOf(cudaError_t error) {
  return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

cublasStatus_t Queue(cublasContext* context, std::function<void()> run) {
  if (DeviceError() != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  return StatusOf(Enqueue(context->stream, std::move(run)));
}

struct Strides {
  long long a = 0, b = 0, c = 0;
  int count = 1;
};

cublasStatus_t QueueStrided(cublasHandle_t handle, const Call& call, const void* alpha, const void* a,
                            const void* b, const void* beta, void* c, Strides strides) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (const cublasStatus_t status = CheckSizes(call); status != CUBLAS_STATUS_SUCCESS) return status;
  if (alpha == nullptr || beta == nullptr || strides.count < 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (const cublasStatus_t status = CheckTypes(call, false); status != CUBLAS_STATUS_SUCCESS) return status;
  if (call.m == 0 || call.n == 0 || strides.count == 0) return CUBLAS_STATUS_SUCCESS;
  Gemm gemm = GemmOf(*handle, call, *static_cast<const float*>(alpha), *static_cast<const float*>(beta));
  return Queue(handle, [gemm, a, b, c, strides, function = call.function]() mutable {
    for (int i = 0; i < strides.count; ++i) {
      gemm.a.data =
          static_cast<const char*>(a) + i * strides.a * static_cast<long long>(BytesOf(gemm.a.number));
      gemm.b.data =
          static_cast<const char*>(b) + i * strides.b * static_cast<long long>(BytesOf(gemm.b.number));
      gemm.c = static_cast<char*>(c) + i * strides.c * static_cast<long long>(BytesOf(gemm.c_number));
      CheckMemory(function, gemm);
      RunGemm(gemm);
    }
  });
}

}  // namespace

extern "C" {

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
#define RETORT_STATUS(name) \
  case name:                \
    return #name
    RETORT_STATUS(CUBLAS_STATUS_SUCCESS);
    RETORT_STATUS(CUBLAS_STATUS_NOT_INITIALIZED);
    RETORT_STATUS(CUBLAS_STATUS_ALLOC_FAILED);
    RETORT_STATUS(CUBLAS_STATUS_INVALID_VALUE);
    RETORT_STATUS(CUBLAS_STATUS_ARCH_MISMATCH);
    RETORT_STATUS(CUBLAS_STATUS_MAPPING_ERROR);
    RETORT_STATUS(CUBLAS_STATUS_EXECUTION_FAILED);
    RETORT_STATUS(CUBLAS_STATUS_INTERNAL_ERROR);
    RETORT_STATUS(CUBLAS_STATUS_NOT_SUPPORTED);
    RETORT_STATUS(CUBLAS_STATUS_LICENSE_ERROR);
#undef RETORT_STATUS
  }
  return "unknown status";
}

const char* cublasGetStatusString(cublasStatus_t status) {
  return cublasGetStatusName(status);
}

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if (DeviceError() != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = new cublasContext;
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  ++TheRuntime().handles;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  --TheRuntime().handles;
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion_v2(cublasHandle_t /*handle*/, int* version) {
  if (version == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *version = 130000;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetStream_v2(cublasHandle_t handle, cudaStream_t* stream) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (stream == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *stream = handle->stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t bytes) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (reinterpret_cast<std::uintptr_t>(workspace) % 256 != 0) return CUBLAS_STATUS_INVALID_VALUE;
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  CheckExtent("cublasSetWorkspace", 'w', {static_cast<const char*>(workspace), bytes}, 1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  const int base = mode & 0xf;
  if (base != CUBLAS_DEFAULT_MATH && base != CUBLAS_PEDANTIC_MATH && base != CUBLAS_TF32_TENSOR_OP_MATH) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  handle->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetMathMode(cublasHandle_t handle, cublasMath_t* mode) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (mode == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *mode = handle->math;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetAtomicsMode(cublasHandle_t handle, cublasAtomicsMode_t mode) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  return mode == CUBLAS_ATOMICS_NOT_ALLOWED || mode == CUBLAS_ATOMICS_ALLOWED ? CUBLAS_STATUS_SUCCESS
                                                                              : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                              int m, int n, int k, const float* alpha, const float* A, int lda,
                              const float* B, int ldb, const float* beta, float* C, int ldc) {
  const Call call = {"cublasSgemm",     transa,     transb,     m,   n,   k,
                     CUDA_R_32F,        CUDA_R_32F, CUDA_R_32F, lda, ldb, ldc,
                     CUBLAS_COMPUTE_32F};
  return QueueStrided(handle, call, alpha, A, B, beta, C, {});
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                            int n, int k, const void* alpha, const void* A, cudaDataType Atype, int lda,
                            const void* B, cudaDataType Btype, int ldb, const void* beta, void* C,
                            cudaDataType Ctype, int ldc, cublasComputeType_t computeType,
                            cublasGemmAlgo_t algo) {
  if (algo != CUBLAS_GEMM_DEFAULT && algo != CUBLAS_GEMM_DEFAULT_TENSOR_OP)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const Call call = {"cublasGemmEx", transa, transb, m,   n,   k,          Atype,
                     Btype,          Ctype,  lda,    ldb, ldc, computeType};
  return QueueStrided(handle, call, alpha, A, B, beta, C, {});
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa,
                                          cublasOperation_t transb, int m, int n, int k, const void* alpha,
                                          const void* A, cudaDataType Atype, int lda, long long int strideA,
                                          const void* B, cudaDataType Btype, int ldb, long long int strideB,
                                          const void* beta, void* C, cudaDataType Ctype, int ldc,
                                          long long int strideC, int batchCount,
                                          cublasComputeType_t computeType, cublasGemmAlgo_t algo) {
  if (algo != CUBLAS_GEMM_DEFAULT && algo != CUBLAS_GEMM_DEFAULT_TENSOR_OP)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  const Call call = {
      "cublasGemmStridedBatchedEx", transa, transb, m, n, k, Atype, Btype, Ctype, lda, ldb, ldc, computeType};
  return QueueStrided(handle, call, alpha, A, B, beta, C, {strideA, strideB, strideC, batchCount});
}

cublasStatus_t cublasGemmGroupedBatchedEx(cublasHandle_t handle, const cublasOperation_t transa_array[],
                                          const cublasOperation_t transb_array[], const int m_array[],
                                          const int n_array[], const int k_array[], const void* alpha_array,
                                          const void* const Aarray[], cudaDataType_t Atype,
                                          const int lda_array[], const void* const Barray[],
                                          cudaDataType_t Btype, const int ldb_array[], const void* beta_array,
                                          void* const Carray[], cudaDataType_t Ctype, const int ldc_array[],
                                          int group_count, const int group_size[],
                                          cublasComputeType_t computeType) {
  if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
  if (group_count < 0) return CUBLAS_STATUS_INVALID_VALUE;
  if (group_count == 0) return CUBLAS_STATUS_SUCCESS;
  for (const void* array : {static_cast<const void*>(transa_array), static_cast<const void*>(transb_array),
                            static_cast<const void*>(m_array), static_cast<const void*>(n_array),
                            static_cast<const void*>(k_array), alpha_array, beta_array,
                            static_cast<const void*>(lda_array), static_cast<const void*>(ldb_array),
                            static_cast<const void*>(ldc_array), static_cast<const void*>(group_size)}) {
    if (array == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  }
  std::vector<Gemm> problems;
  for (int group = 0; group < group_count; ++group) {
    const Call call = {"cublasGemmGroupedBatchedEx",
                       transa_array[group],
                       transb_array[group],
                       m_array[group],
                       n_array[group],
                       k_array[group],
                       Atype,
                       Btype,
                       Ctype,
                       lda_array[group],
                       ldb_array[group],
                       ldc_array[group],
                       computeType};
    if (group_size[group] < 0) return CUBLAS_STATUS_INVALID_VALUE;
    if (const cublasStatus_t status = CheckSizes(call); status != CUBLAS_STATUS_SUCCESS) return status;
    if (const cublasStatus_t status = CheckTypes(call, true); status != CUBLAS_STATUS_SUCCESS) return status;
    const Gemm gemm = GemmOf(*handle, call, static_cast<const float*>(alpha_array)[group],
                             static_cast<const float*>(beta_array)[group]);
    problems.insert(problems.end(), static_cast<std::size_t>(group_size[group]), gemm);
  }
  if (problems.empty()) return CUBLAS_STATUS_SUCCESS;
  return Queue(handle, [problems = std::move(problems), Aarray, Barray, Carray]() mutable {
    const char* const function = "cublasGemmGroupedBatchedEx";
    const std::size_t bytes = problems.size() * sizeof(void*);
    CheckExtent(function, 'a', {reinterpret_cast<const char*>(Aarray), bytes}, sizeof(void*));
    CheckExtent(function, 'b', {reinterpret_cast<const char*>(Barray), bytes}, sizeof(void*));
    CheckExtent(function, 'c', {reinterpret_cast<const char*>(Carray), bytes}, sizeof(void*));
    for (std::size_t i = 0; i < problems.size(); ++i) {
      problems[i].a.data = Aarray[i];
      problems[i].b.data = Barray[i];
      problems[i].c = Carray[i];
      CheckMemory(function, problems[i]);
      RunGemm(problems[i]);
    }
  });
}

}  // extern "C"
