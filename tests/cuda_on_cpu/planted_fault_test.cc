// Faults that kernels and their callers are likely to have, planted on purpose: each must be found. Those
// that need a sanitizer say so and are skipped in other builds. Missing stream dependencies are in
// stream_test.cc.
#include <cublas_v2.h>

#include <cmath>
#include <numeric>

#include "tests/cuda_on_cpu/on_device.h"
#include "tests/cuda_on_cpu/rig.h"
#include "tests/cuda_on_cpu/test_kernels.h"

namespace retort::cuda_on_cpu {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif
#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

std::vector<int> Counted(int size) {
  std::vector<int> values(size);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

TEST(PlantedFaultDeathTest, ARemovedBarrierIsARace) {
  if (!kThreadSanitizer) GTEST_SKIP() << "races are seen by ThreadSanitizer (-DRETORT_SANITIZER=thread)";
  GTEST_FLAG_SET(death_test_style,
                 "threadsafe");  // the child starts afresh: the threads of blocks do not survive a fork
  EXPECT_EXIT(
      {
        const OnDevice<int> in(Counted(192));
        OnDevice<int> out(192);
        FaultyReverseWithoutBarrier(in.get(), out.get(), 192, {});
        cudaDeviceSynchronize();
        std::exit(0);  // ThreadSanitizer's own status when it reported something
      },
      testing::ExitedWithCode(66), "data race.*FaultyReverseKernel");
  EXPECT_EXIT(
      {
        const OnDevice<int> in(Counted(192));
        OnDevice<int> out(192);
        ReverseInBlocks(in.get(), out.get(), 192, {});
        cudaDeviceSynchronize();
        std::exit(0);
      },
      testing::ExitedWithCode(0), "")
      << "with the barrier there is none";
}

// The threads of a block take turns in ascending, then descending order, so what one reads of another is not
// there yet.
TEST(PlantedFault, ARemovedBarrierGivesWrongData) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer would end this test: see ARemovedBarrierIsARace";
  const OnDevice<int> in(Counted(96));
  OnDevice<int> out(96);
  FaultyReverseWithoutBarrier(in.get(), out.get(), 96, {});
  std::vector<int> reversed = Counted(96);
  std::reverse(reversed.begin(), reversed.end());
  EXPECT_NE(out.Read(), reversed);
}

TEST(PlantedFaultDeathTest, AnIndexBeyondTheEndIsReported) {
  if (kThreadSanitizer) GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [] {
    int* out = nullptr;
    cudaMalloc(&out, 256 * sizeof(int));
    FaultyIndexBeyondEnd(out, 256, {});
    cudaDeviceSynchronize();
    cudaFree(out);
  };
  // AddressSanitizer stops at the write, other builds find the changed guard at the free.
  EXPECT_DEATH(run(), kAddressSanitizer ? "use-after-poison.*FaultyIndexKernel"
                                        : "byte 1024 was written in a device allocation of 1024 bytes");
}

TEST(PlantedFaultDeathTest, AnIndexBeyondDynamicSharedMemoryIsReported) {
  if (!kAddressSanitizer)
    GTEST_SKIP() << "bounds of shared memory are seen by AddressSanitizer (-DRETORT_SANITIZER=address)";
  EXPECT_DEATH(
      {
        OnDevice<float> out(32);
        FaultyDynamicSharedMemory(out.get(), 32, {});
        cudaDeviceSynchronize();
      },
      "heap-buffer-overflow.*FaultyDynamicSharedKernel");
}

TEST(PlantedFaultDeathTest, BarriersThatNotAllReachAreReported) {
  if (kThreadSanitizer) GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [](auto launch) {
    OnDevice<int> out(64);
    launch(out.get());
    cudaDeviceSynchronize();
  };
  EXPECT_DEATH(
      run([](int* out) { FaultyBarrierForSome(out, 64, {}); }),
      "kernel FaultyBarrierForSomeKernel, block \\(0,0,0\\): barrier divergence: thread .*test_kernels.cu:");
  EXPECT_DEATH(run([](int* out) { FaultyBarriersApart(out, 64, {}); }),
               "kernel FaultyBarriersApartKernel, block \\(0,0,0\\): barrier divergence: thread .* at that "
               "of test_kernels.cu:");
}

TEST(PlantedFaultDeathTest, WarpOperationsThatNotAllReachAreReported) {
  if (kThreadSanitizer)
    GTEST_SKIP()
        << "with OS threads such a kernel waits for ever, as on a device; the fibre builds report it";
  OnDevice<int> out(32);
  EXPECT_DEATH(
      {
        FaultyShuffleForSome(out.get(), {});
        cudaDeviceSynchronize();
      },
      "kernel FaultyShuffleForSomeKernel.*warp divergence");
  EXPECT_DEATH(
      {
        FaultyMask(out.get(), {});
        cudaDeviceSynchronize();
      },
      "kernel FaultyMaskKernel.*a mask that does not name it");
}

TEST(PlantedFaultDeathTest, ATrapIsReported) {
  if (kThreadSanitizer) GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        CallsTrap({});
        cudaDeviceSynchronize();
      },
      "kernel CallsTrapKernel, block \\(.,0,0\\): __trap at test_kernels.cu:.*thread \\(3,0,0\\)");
}

// y[rows, out] = x[rows, in] * w[out, in]^T in rows, as columns: y^T = w * x^T. The right call, and the two
// mistakes.
class PlantedProduct : public testing::Test {
 protected:
  static constexpr int kRows = 3, kIn = 4, kOut = 5;

  void SetUp() override {
    ASSERT_EQ(cublasCreate(&handle_), CUBLAS_STATUS_SUCCESS);
    std::vector<float> x(kRows * kIn), w(kOut * kIn);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 4.0f;
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i * i % 7);
    x_.Write(x);
    w_.Write(w);
    for (int r = 0; r < kRows; ++r) {
      for (int o = 0; o < kOut; ++o) {
        float sum = 0.0f;
        for (int i = 0; i < kIn; ++i) sum += x[r * kIn + i] * w[o * kIn + i];
        truth_.push_back(sum);
      }
    }
  }
  void TearDown() override { cublasDestroy(handle_); }

  cublasStatus_t Multiply(cublasOperation_t w_operation, int w_leading, int x_leading) {
    const float one = 1.0f, zero = 0.0f;
    return cublasSgemm(handle_, w_operation, CUBLAS_OP_N, kOut, kRows, kIn, &one, w_.get(), w_leading,
                       x_.get(), x_leading, &zero, y_.get(), kOut);
  }

  cublasHandle_t handle_ = nullptr;
  OnDevice<float> x_{kRows * kIn}, w_{kOut * kIn}, y_{kRows * kOut};
  std::vector<float> truth_;
};

TEST_F(PlantedProduct, TheRightCallIsRight) {
  ASSERT_EQ(Multiply(CUBLAS_OP_T, kIn, kIn), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(y_.Read(), truth_);
}

TEST_F(PlantedProduct, AWrongTransposeGivesWrongNumbers) {
  ASSERT_EQ(Multiply(CUBLAS_OP_N, kOut, kIn), CUBLAS_STATUS_SUCCESS) << "the sizes fit";
  EXPECT_NE(y_.Read(), truth_);
}

TEST_F(PlantedProduct, ASwappedLeadingDimensionIsRefusedOrReported) {
  EXPECT_EQ(Multiply(CUBLAS_OP_T, kRows, kIn), CUBLAS_STATUS_INVALID_VALUE) << "too small";
  EXPECT_DEATH(
      {
        Multiply(CUBLAS_OP_T, kOut, kIn);  // too large: columns beyond the allocation
        cudaDeviceSynchronize();
      },
      "cublasSgemm: A is 96 bytes at byte 0 of an allocation of 80");
}

}  // namespace
}  // namespace retort::cuda_on_cpu
