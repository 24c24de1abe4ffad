#include <cublas_v2.h>
#include <cuda_bf16.h>

#include <chrono>
#include <cmath>
#include <random>

#include "tests/cuda_on_cpu/on_device.h"
#include "tests/cuda_on_cpu/rig.h"

namespace retort::cuda_on_cpu {
namespace {

class Cublas : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(cublasCreate(&handle_), CUBLAS_STATUS_SUCCESS); }
  void TearDown() override {
    EXPECT_EQ(cublasDestroy(handle_), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(Describe(CountObjects()), Describe(Objects{}));
  }
  std::vector<float> Random(std::size_t size) {
    std::vector<float> values(size);
    for (float& value : values) value = distribution_(random_);
    return values;
  }

  cublasHandle_t handle_ = nullptr;
  std::mt19937 random_{7};
  std::uniform_real_distribution<float> distribution_{-1.0f, 1.0f};
};

float ToBf16AndBack(float x) {
  return __bfloat162float(__float2bfloat16(x));
}

// Column-major, element by element, in double.
double At(const std::vector<float>& x, int leading, bool transposed, int row, int column) {
  return transposed ? x[column + static_cast<std::size_t>(row) * leading]
                    : x[row + static_cast<std::size_t>(column) * leading];
}

struct Shape {
  int m, n, k;
};
constexpr Shape kShapes[] = {{1, 1, 1},   {2, 3, 4},     {16, 6, 8}, {17, 7, 33},
                             {5, 1, 600}, {40, 13, 513}, {3, 5, 0}};

TEST_F(Cublas, AllTransposesAndLeadingDimensionsMatchADirectSum) {
  for (const Shape& s : kShapes) {
    for (int variant = 0; variant < 4; ++variant) {
      const bool ta = variant & 1, tb = variant & 2;
      const int lda = (ta ? s.k : s.m) + 3, ldb = (tb ? s.n : s.k) + 2, ldc = s.m + 1;
      const std::vector<float> a = Random(static_cast<std::size_t>(lda) * (ta ? s.m : s.k) + 1);
      const std::vector<float> b = Random(static_cast<std::size_t>(ldb) * (tb ? s.k : s.n) + 1);
      const std::vector<float> c = Random(static_cast<std::size_t>(ldc) * s.n);
      const OnDevice<float> da(a), db(b);
      OnDevice<float> dc(c);
      const float alpha = 0.5f, beta = -2.0f;
      ASSERT_EQ(cublasSgemm(handle_, ta ? CUBLAS_OP_T : CUBLAS_OP_N, tb ? CUBLAS_OP_T : CUBLAS_OP_N, s.m, s.n,
                            s.k, &alpha, da.get(), lda, db.get(), ldb, &beta, dc.get(), ldc),
                CUBLAS_STATUS_SUCCESS);
      const std::vector<float> got = dc.Read();
      for (int j = 0; j < s.n; ++j) {
        for (int i = 0; i < ldc; ++i) {
          const std::size_t at = i + static_cast<std::size_t>(j) * ldc;
          if (i == s.m) {
            EXPECT_EQ(got[at], c[at]) << "the row beyond m is not touched";
            continue;
          }
          double sum = 0.0;
          for (int k = 0; k < s.k; ++k) sum += At(a, lda, ta, i, k) * At(b, ldb, tb, k, j);
          EXPECT_NEAR(got[at], 0.5 * sum - 2.0 * c[at], 1e-6 * (s.k + 4)) << s.m << "x" << s.n << "x" << s.k;
        }
      }
    }
  }
}

TEST_F(Cublas, Bf16OperandsAreSummedInSinglePrecision) {
  const int m = 9, n = 4, k = 300;
  std::vector<__nv_bfloat16> a(m * k), b(k * n);
  std::vector<float> fa = Random(m * k), fb = Random(k * n);
  for (int i = 0; i < m * k; ++i) a[i] = __float2bfloat16(fa[i]), fa[i] = __bfloat162float(a[i]);
  for (int i = 0; i < k * n; ++i) b[i] = __float2bfloat16(fb[i]), fb[i] = __bfloat162float(b[i]);
  const OnDevice<__nv_bfloat16> da(a), db(b);
  OnDevice<float> dc(m * n);  // NaN before: beta is 0, so it is not read
  OnDevice<__nv_bfloat16> short_c(m * n);
  const float alpha = 1.0f, beta = 0.0f;
  for (int pass = 0; pass < 2; ++pass) {
    ASSERT_EQ(
        cublasGemmEx(handle_, CUBLAS_OP_N, CUBLAS_OP_N, m, n, k, &alpha, da.get(), CUDA_R_16BF, m, db.get(),
                     CUDA_R_16BF, k, &beta, pass == 0 ? static_cast<void*>(dc.get()) : short_c.get(),
                     pass == 0 ? CUDA_R_32F : CUDA_R_16BF, m, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
        CUBLAS_STATUS_SUCCESS);
  }
  const std::vector<float> got = dc.Read();
  const std::vector<__nv_bfloat16> rounded = short_c.Read();
  for (int j = 0; j < n; ++j) {
    for (int i = 0; i < m; ++i) {
      double sum = 0.0;
      for (int p = 0; p < k; ++p) sum += At(fa, m, false, i, p) * At(fb, k, false, p, j);
      EXPECT_NEAR(got[i + j * m], sum, 1e-5);
      EXPECT_EQ(__bfloat162float(rounded[i + j * m]), ToBf16AndBack(got[i + j * m]));
    }
  }
}

TEST_F(Cublas, StridedBatchesAndSharedOperands) {
  const int m = 3, n = 2, k = 4, batches = 3;
  const std::vector<float> a = Random(m * k * batches), b = Random(k * n);
  const OnDevice<float> da(a), db(b);
  OnDevice<float> dc(m * n * batches);
  const float alpha = 1.0f, beta = 0.0f;
  ASSERT_EQ(
      cublasGemmStridedBatchedEx(handle_, CUBLAS_OP_N, CUBLAS_OP_N, m, n, k, &alpha, da.get(), CUDA_R_32F, m,
                                 m * k, db.get(), CUDA_R_32F, k, 0, &beta, dc.get(), CUDA_R_32F, m, m * n,
                                 batches, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
      CUBLAS_STATUS_SUCCESS);
  const std::vector<float> got = dc.Read();
  for (int batch = 0; batch < batches; ++batch) {
    for (int j = 0; j < n; ++j) {
      for (int i = 0; i < m; ++i) {
        double sum = 0.0;
        for (int p = 0; p < k; ++p) sum += double{a[batch * m * k + i + p * m]} * b[p + j * k];
        EXPECT_NEAR(got[batch * m * n + i + j * m], sum, 1e-6);
      }
    }
  }
}

TEST_F(Cublas, GroupsHaveTheirOwnSizesAndMayBeEmpty) {
  // Three groups: sizes differ, the second has no columns, the third has two members.
  const int m[] = {2, 2, 3}, n[] = {4, 0, 1}, k[] = {3, 3, 2}, lda[] = {2, 2, 3}, ldb[] = {3, 3, 2},
            ldc[] = {2, 2, 3};
  const int size[] = {1, 1, 2};
  const float alpha[] = {1.0f, 1.0f, 2.0f}, beta[] = {0.0f, 0.0f, 1.0f};
  const cublasOperation_t op[] = {CUBLAS_OP_N, CUBLAS_OP_N, CUBLAS_OP_N};
  const OnDevice<float> a(Random(40)), b(Random(40));
  OnDevice<float> c(std::vector<float>(40, 1.0f));
  const OnDevice<const void*> da(std::vector<const void*>{a.get(), a.get(), a.get() + 10, a.get() + 20});
  const OnDevice<const void*> db(std::vector<const void*>{b.get(), b.get(), b.get() + 15, b.get() + 20});
  const OnDevice<void*> dc(std::vector<void*>{c.get(), c.get() + 8, c.get() + 10, c.get() + 20});
  ASSERT_EQ(cublasGemmGroupedBatchedEx(handle_, op, op, m, n, k, alpha, da.get(), CUDA_R_32F, lda, db.get(),
                                       CUDA_R_32F, ldb, beta, dc.get(), CUDA_R_32F, ldc, 3, size,
                                       CUBLAS_COMPUTE_32F),
            CUBLAS_STATUS_SUCCESS);
  const std::vector<float> fa = a.Read(), fb = b.Read(), got = c.Read();
  for (int j = 0; j < 4; ++j) {
    for (int i = 0; i < 2; ++i) {
      float sum = 0.0f;
      for (int p = 0; p < 3; ++p) sum += fa[i + p * 2] * fb[p + j * 3];
      EXPECT_EQ(got[i + j * 2], sum);
    }
  }
  EXPECT_EQ(got[8], 1.0f);
  for (int i = 0; i < 3; ++i) {
    EXPECT_NEAR(got[10 + i], 1.0f + 2.0f * (fa[10 + i] * fb[15] + fa[13 + i] * fb[16]), 1e-6f);
    EXPECT_NEAR(got[20 + i], 1.0f + 2.0f * (fa[20 + i] * fb[20] + fa[23 + i] * fb[21]), 1e-6f);
  }
}

TEST_F(Cublas, ReducedPrecisionIsVisible) {
  const OnDevice<float> a(std::vector<float>{1.0f + 0x1p-12f}), b(std::vector<float>{1.0f});
  OnDevice<float> c(1);
  const float alpha = 1.0f, beta = 0.0f;
  const auto product = [&](cublasComputeType_t compute) {
    EXPECT_EQ(
        cublasGemmEx(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &alpha, a.get(), CUDA_R_32F, 1, b.get(),
                     CUDA_R_32F, 1, &beta, c.get(), CUDA_R_32F, 1, compute, CUBLAS_GEMM_DEFAULT),
        CUBLAS_STATUS_SUCCESS);
    return c.Read()[0];
  };
  EXPECT_EQ(product(CUBLAS_COMPUTE_32F), 1.0f + 0x1p-12f);
  EXPECT_EQ(product(CUBLAS_COMPUTE_32F_FAST_TF32), 1.0f);
  EXPECT_EQ(cublasSetMathMode(handle_, CUBLAS_TF32_TENSOR_OP_MATH), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(product(CUBLAS_COMPUTE_32F), 1.0f);
  EXPECT_EQ(product(CUBLAS_COMPUTE_32F_PEDANTIC), 1.0f + 0x1p-12f);
}

// Every refusal of one product: what is wrong, and the status.
TEST_F(Cublas, ArgumentsAreRefusedAsDocumented) {
  const OnDevice<float> a(64), b(64);
  OnDevice<float> c(64);
  const float one = 1.0f;
  struct Arguments {
    cublasOperation_t ta = CUBLAS_OP_N, tb = CUBLAS_OP_N;
    int m = 2, n = 3, k = 4, lda = 2, ldb = 4, ldc = 2;
    const float* alpha = nullptr;
    cudaDataType at = CUDA_R_32F, bt = CUDA_R_32F, ct = CUDA_R_32F;
    cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
    cublasGemmAlgo_t algo = CUBLAS_GEMM_DEFAULT;
  };
  const auto call = [&](auto change) {
    Arguments x;
    x.alpha = &one;
    change(x);
    return cublasGemmEx(handle_, x.ta, x.tb, x.m, x.n, x.k, x.alpha, a.get(), x.at, x.lda, b.get(), x.bt,
                        x.ldb, &one, c.get(), x.ct, x.ldc, x.compute, x.algo);
  };
  EXPECT_EQ(call([](Arguments&) {}), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(call([](Arguments& x) { x.m = -1; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(call([](Arguments& x) { x.n = -1; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(call([](Arguments& x) { x.k = -1; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(call([](Arguments& x) { x.lda = 1; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(call([](Arguments& x) { x.ta = CUBLAS_OP_T; }), CUBLAS_STATUS_INVALID_VALUE) << "lda < k";
  EXPECT_EQ(call([](Arguments& x) { x.ldb = 3; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(call([](Arguments& x) { x.tb = CUBLAS_OP_T, x.ldb = 2; }), CUBLAS_STATUS_INVALID_VALUE)
      << "ldb < n";
  EXPECT_EQ(call([](Arguments& x) { x.ldc = 1; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(call([](Arguments& x) { x.m = 0, x.lda = 0; }), CUBLAS_STATUS_INVALID_VALUE) << "lda < 1";
  EXPECT_EQ(call([](Arguments& x) { x.ta = static_cast<cublasOperation_t>(3); }),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(call([](Arguments& x) { x.alpha = nullptr; }), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(call([](Arguments& x) { x.at = CUDA_R_16BF; }), CUBLAS_STATUS_NOT_SUPPORTED) << "A and B differ";
  EXPECT_EQ(call([](Arguments& x) { x.ct = CUDA_R_16BF; }), CUBLAS_STATUS_NOT_SUPPORTED) << "fp32 to bf16";
  EXPECT_EQ(call([](Arguments& x) { x.at = x.bt = CUDA_R_16BF, x.compute = CUBLAS_COMPUTE_32F_FAST_TF32; }),
            CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(call([](Arguments& x) { x.compute = CUBLAS_COMPUTE_64F; }), CUBLAS_STATUS_NOT_SUPPORTED);
  EXPECT_EQ(
      cublasGemmEx(nullptr, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, a.get(), CUDA_R_32F, 1, b.get(),
                   CUDA_R_32F, 1, &one, c.get(), CUDA_R_32F, 1, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
      CUBLAS_STATUS_NOT_INITIALIZED);
  SetDevices(1);
  FailDevice(cudaErrorLaunchFailure);
  EXPECT_EQ(call([](Arguments&) {}), CUBLAS_STATUS_EXECUTION_FAILED);
  FailDevice(cudaSuccess);
}

TEST_F(Cublas, GroupedBf16HasABf16Result) {
  const int one = 1;
  const float f = 1.0f;
  const cublasOperation_t op = CUBLAS_OP_N;
  const OnDevice<void*> pointers(1);
  EXPECT_EQ(cublasGemmGroupedBatchedEx(handle_, &op, &op, &one, &one, &one, &f, pointers.get(), CUDA_R_16BF,
                                       &one, pointers.get(), CUDA_R_16BF, &one, &f, pointers.get(),
                                       CUDA_R_32F, &one, 1, &one, CUBLAS_COMPUTE_32F),
            CUBLAS_STATUS_NOT_SUPPORTED);
  const int negative = -1;
  EXPECT_EQ(cublasGemmGroupedBatchedEx(handle_, &op, &op, &one, &one, &one, &f, pointers.get(), CUDA_R_32F,
                                       &one, pointers.get(), CUDA_R_32F, &one, &f, pointers.get(), CUDA_R_32F,
                                       &one, 1, &negative, CUBLAS_COMPUTE_32F),
            CUBLAS_STATUS_INVALID_VALUE);
}

using CublasDeathTest = Cublas;

TEST_F(CublasDeathTest, AMatrixBeyondItsAllocationIsReported) {
  const OnDevice<float> a(8), b(12);
  OnDevice<float> c(6);
  const float one = 1.0f;
  // A is 2 x 4; its true leading dimension is 2, and 4 was given: the last column lies outside.
  EXPECT_DEATH(
      {
        cublasSgemm(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 2, 3, 4, &one, a.get(), 4, b.get(), 4, &one, c.get(),
                    2);
        cudaDeviceSynchronize();
      },
      "A is 56 bytes at byte 0 of an allocation of 32");
  std::vector<float> host(8);
  EXPECT_DEATH(
      {
        cublasSgemm(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 2, 3, 4, &one, host.data(), 2, b.get(), 4, &one,
                    c.get(), 2);
        cudaDeviceSynchronize();
      },
      "is no device memory");
  EXPECT_DEATH(
      {
        cublasSgemm(handle_, CUBLAS_OP_N, CUBLAS_OP_N, 2, 3, 2, &one, a.get(), 2, b.get(), 4, &one, a.get(),
                    2);
        cudaDeviceSynchronize();
      },
      "C overlaps A or B");
}

TEST_F(Cublas, ProductsAreFastEnoughForTests) {
  const int size = 256;
  const OnDevice<float> a(std::vector<float>(size * size, 1.0f)), b(std::vector<float>(size * size, 1.0f));
  OnDevice<float> c(size * size);
  const float one = 1.0f, zero = 0.0f;
  const auto start = std::chrono::steady_clock::now();
  cublasSgemm(handle_, CUBLAS_OP_N, CUBLAS_OP_N, size, size, size, &one, a.get(), size, b.get(), size, &zero,
              c.get(), size);
  EXPECT_EQ(c.Read()[0], 256.0f);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("[ figure   ] %.1f GFLOP/s\n", 2e-9 * size * size * size / seconds);
}

}  // namespace
}  // namespace retort::cuda_on_cpu
