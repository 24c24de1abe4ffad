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
  const double ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
  std::printf("[ figure   ] %.1f ns for each thread and barrier\n", ns / (256.0 * barriers));
}

}  // namespace
}  // namespace retort::cuda_on_cpu
