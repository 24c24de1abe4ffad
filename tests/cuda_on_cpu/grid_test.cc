#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <numeric>
#include <vector>

#include "tests/cuda_on_cpu/on_device.h"
#include "tests/cuda_on_cpu/test_kernels.h"

namespace retort::cuda_on_cpu {
namespace {

TEST(Grid, EveryThreadRunsOnceWithItsIndex) {
  OnDevice<int> out(1000);
  FillIndex(out.get(), 1000, {});
  const std::vector<int> seen = out.Read();
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[i], i);
}

TEST(Grid, BarrierSeparatesWritesFromReadsOfSharedMemory) {
  std::vector<int> in(250);
  std::iota(in.begin(), in.end(), 0);
  const OnDevice<int> source(in);
  OnDevice<int> out(250);
  ReverseInBlocks(source.get(), out.get(), 250, {});
  const std::vector<int> seen = out.Read();
  for (int i = 0; i < 250; ++i) {
    const int first = i / 96 * 96;
    const int count = std::min(96, 250 - first);
    EXPECT_EQ(seen[i], first + count - 1 - (i - first));
  }
}

TEST(Grid, WarpShufflesAndDynamicSharedMemorySumRows) {
  std::vector<float> in(5 * 300);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i % 7);
  const OnDevice<float> source(in);
  OnDevice<float> out(5);
  SumRows(source.get(), out.get(), 5, 300, {});
  const std::vector<float> seen = out.Read();
  for (int r = 0; r < 5; ++r) EXPECT_EQ(seen[r], std::accumulate(&in[r * 300], &in[r * 300] + 300, 0.0f));
}

TEST(Grid, BallotAndAtomicsCount) {
  std::vector<int> in(200);
  std::iota(in.begin(), in.end(), 0);
  const OnDevice<int> source(in);
  OnDevice<unsigned> total(std::vector<unsigned>{0});
  CountBits(source.get(), total.get(), 200, {});
  EXPECT_EQ(total.Read()[0], 100u);
}

TEST(Grid, WarpOperationsGiveEachLaneItsOwn) {
  OnDevice<unsigned> results(12 * 32);
  WarpOperations(results.get(), {});
  const std::vector<unsigned> got = results.Read();
  for (unsigned lane = 0; lane < 32; ++lane) {
    const unsigned expected[12] = {
        5,
        lane / 8 * 8 + 3,
        lane < 2 ? lane : lane - 2,
        lane % 16 < 12 ? lane + 4 : lane,
        lane ^ 1u,
        0x49249249u,  // lanes 0, 3, 6, …, 30
        3,
        496,
        static_cast<unsigned>(-7),
        0xfu << (lane / 4 * 4),
        lane < 16 ? lane ^ 15u : 31u,
        2 * std::min(lane + 1, 31u) + 1,
    };
    for (int op = 0; op < 12; ++op)
      EXPECT_EQ(got[op * 32 + lane], expected[op]) << "operation " << op << ", lane " << lane;
  }
}

TEST(Grid, BarriersVote) {
  OnDevice<int> out(3);
  Vote(out.get(), 70, {});
  EXPECT_EQ(out.Read(), (std::vector<int>{35, 1, 0}));
}

TEST(Grid, LanesThatLeftAreNotWaitedFor) {
  OnDevice<int> out(std::vector<int>(50, -1));
  ShuffleWhereSomeLeft(out.get(), 50, {});
  const std::vector<int> got = out.Read();
  for (int i = 0; i < 50; ++i) EXPECT_EQ(got[i], i % 32 < 20 ? 7 : -1) << i;
}

TEST(Grid, BlocksOfThreeDimensions) {
  OnDevice<int> out(64);
  Launch(
      "index",
      +[](int* target) {
        const unsigned in_block = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
        const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
        target[block * 8 + in_block] = static_cast<int>(100 * blockIdx.z + 10 * threadIdx.y + threadIdx.x);
      },
      dim3(2, 2, 2), dim3(2, 2, 2), 0, nullptr, out.get());
  const std::vector<int> got = out.Read();
  for (int i = 0; i < 64; ++i) EXPECT_EQ(got[i], 100 * (i / 32) + 10 * (i / 2 % 2) + i % 2) << i;
}

TEST(Grid, RefusedConfigurationsWaitInTheLastError) {
  OnDevice<int> out(1);
  const auto launch = [&](dim3 grid, dim3 block, std::size_t shared) {
    Launch(
        "one", +[](int* target) { *target = 1; }, grid, block, shared, nullptr, out.get());
    return cudaGetLastError();
  };
  EXPECT_EQ(launch(1, 1, 0), cudaSuccess);
  EXPECT_EQ(launch(0, 1, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(1, 0, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(1, 1025, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(1, dim3(32, 33), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(1, dim3(1, 1, 65), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(dim3(1, 65536), 1, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(launch(1, 1, 48 * 1024 + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "asking takes it";
}

TEST(Grid, MoreSharedMemoryIsThereWhenAskedFor) {
  OnDevice<float> out(1);
  void (*const kernel)(float*) = +[](float* target) {
    static_cast<float*>(DynamicSharedMemory())[100 * 1024 / 4 - 1] = 2.0f;
    *target = static_cast<float*>(DynamicSharedMemory())[100 * 1024 / 4 - 1];
  };
  EXPECT_EQ(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 228 * 1024),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 * 1024),
            cudaSuccess);
  cudaGetLastError();
  Launch("large", kernel, 1, 1, 100 * 1024, nullptr, out.get());
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  EXPECT_EQ(out.Read()[0], 2.0f);
}

TEST(Grid, BarriersAreCheap) {
  OnDevice<int> out(256);
#ifdef RETORT_CUDA_ON_CPU_THREADS
  const int barriers = 4;  // each is a meeting of 256 OS threads
#else
  const int barriers = 200;
#endif
  const auto start = std::chrono::steady_clock::now();
  ManyBarriers(out.get(), 1, 256, barriers, {});
  EXPECT_EQ(out.Read(), std::vector<int>(256, barriers));
  const double ns =
      std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  std::printf("[ figure   ] %.1f ns for each thread and barrier\n", ns / (256.0 * barriers));
}

}  // namespace
}  // namespace retort::cuda_on_cpu
