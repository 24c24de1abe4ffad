#include "student/inference/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace retort::student {
namespace {

std::vector<float> RandomLogits(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(count);
  for (float& l : logits) l = normal(random);
  return logits;
}

// Vectors published with Random123 (kat_vectors, philox4x32-10).
TEST(PhiloxTest, GivesThePublishedVectors) {
  uint32_t zero[4] = {0, 0, 0, 0};
  const uint32_t zero_key[2] = {0, 0};
  Philox4x32(zero, zero_key);
  EXPECT_EQ(std::vector<uint32_t>(zero, zero + 4),
            (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  uint32_t ones[4] = {~0u, ~0u, ~0u, ~0u};
  const uint32_t ones_key[2] = {~0u, ~0u};
  Philox4x32(ones, ones_key);
  EXPECT_EQ(std::vector<uint32_t>(ones, ones + 4),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
  const uint32_t pi_key[2] = {0xa4093822, 0x299f31d0};
  Philox4x32(pi, pi_key);
  EXPECT_EQ(std::vector<uint32_t>(pi, pi + 4),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(UniformAtTest, IsInRangeAndDependsOnBoth) {
  double sum = 0;
  for (uint64_t i = 0; i < 10'000; ++i) {
    const double u = UniformAt(42, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.01);
  EXPECT_NE(UniformAt(1, 5), UniformAt(2, 5));
  EXPECT_NE(UniformAt(uint64_t{1} << 40, 5), UniformAt(0, 5));
}

TEST(LogSumExpTest, AgreesWithDoublePrecision) {
  for (const size_t count : {1, 15, 16, 17, 1000, 49152}) {
    const std::vector<float> logits = RandomLogits(count, 7);
    double sum = 0;
    for (const float l : logits) sum += std::exp(static_cast<double>(l));
    EXPECT_NEAR(LogSumExp(logits), std::log(sum), 1e-6) << count;
  }
}

TEST(ArgMaxTest, TakesTheLowestIdOnTies) {
  EXPECT_EQ(ArgMax(std::vector<float>{1, 3, 2, 3}), 1);
  std::vector<float> logits(100, -5);
  logits[77] = logits[90] = 2;
  EXPECT_EQ(ArgMax(logits), 77);
}

TEST(TopLogprobsTest, AgreesWithASort) {
  for (const auto& [count, k] : {std::pair{5, 5}, {64, 1}, {65, 64}, {1000, 32}, {49152, 64}}) {
    std::vector<float> logits = RandomLogits(count, count);
    logits[count / 2] = logits[0];  // a tie
    const double lse = LogSumExp(logits);
    const TopLogprobs top = ComputeTopLogprobs(logits, k, lse);
    std::vector<int32_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(),
              [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
    EXPECT_EQ(top.ids, std::vector<int32_t>(order.begin(), order.begin() + k));
    double outside = 0;
    for (int32_t i = k; i < count; ++i) outside += std::exp(logits[order[i]] - lse);
    if (count == k) {
      EXPECT_EQ(top.tail_logprob, -std::numeric_limits<float>::infinity());
    } else {
      EXPECT_NEAR(top.tail_logprob, std::log(outside), 1e-5);
    }
  }
}

TEST(TopLogprobsTest, KeepsAVerySmallTail) {
  std::vector<float> logits(1000, 0.0f);
  logits[3] = 40;
  const TopLogprobs top = ComputeTopLogprobs(logits, 1, LogSumExp(logits));
  EXPECT_NEAR(top.tail_logprob, std::log(999.0) - 40, 1e-4);  // one minus the head would have left nothing
}

TEST(SampleTokenTest, ZeroTemperatureIsGreedy) {
  EXPECT_EQ(SampleToken(std::vector<float>{0, 5, 5, 1}, {.temperature = 0, .seed = 3}, 0), 1);
}

TEST(SampleTokenTest, DrawsInProportion) {
  const std::vector<float> logits = {std::log(1.0f), std::log(2.0f), std::log(5.0f)};
  std::vector<int> counts(3);
  for (uint64_t i = 0; i < 8000; ++i) ++counts[SampleToken(logits, {.temperature = 1, .seed = 9}, i)];
  EXPECT_NEAR(counts[0], 1000, 120);
  EXPECT_NEAR(counts[1], 2000, 160);
  EXPECT_NEAR(counts[2], 5000, 200);
}

TEST(SampleTokenTest, NucleusKeepsTheSmallestSet) {
  // 0.5, 0.3, 0.15, 0.05: top_p 0.75 keeps the first two.
  const std::vector<float> logits = {std::log(0.05f), std::log(0.5f), std::log(0.15f), std::log(0.3f)};
  std::vector<int> counts(4);
  for (uint64_t i = 0; i < 4000; ++i)
    ++counts[SampleToken(logits, {.temperature = 1, .top_p = 0.75, .seed = 1}, i)];
  EXPECT_EQ(counts[0] + counts[2], 0);
  EXPECT_NEAR(counts[1], 2500, 150);
  // A nucleus smaller than the most likely token is that token.
  for (uint64_t i = 0; i < 50; ++i) EXPECT_EQ(SampleToken(logits, {.temperature = 1, .top_p = 1e-9}, i), 1);
}

TEST(SampleTokenTest, LowTemperatureSharpens) {
  const std::vector<float> logits = {1.0f, 1.1f, 0.9f};
  for (uint64_t i = 0; i < 200; ++i) EXPECT_EQ(SampleToken(logits, {.temperature = 1e-3}, i), 1);
  EXPECT_EQ(SampleToken(logits, {.temperature = 1e-300}, 0), 1);
}

TEST(AppendSampledTest, RefusesLogitsThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const size_t at : {0, 20, 39}) {
      std::vector<float> logits(40, 1.0f);
      logits[at] = bad;
      Generation generation;
      EXPECT_EQ(AppendSampled(logits, {}, generation).status().code(), absl::StatusCode::kInternal) << at;
      EXPECT_TRUE(generation.ids.empty());
    }
  }
}

TEST(AppendSampledTest, ReportsUnderTemperatureOne) {
  const std::vector<float> logits = RandomLogits(300, 1);
  Generation generation;
  ASSERT_TRUE(AppendSampled(logits, {.temperature = 0.3, .seed = 4, .top_logprobs = 8}, generation).ok());
  const double lse = LogSumExp(logits);
  EXPECT_FLOAT_EQ(generation.logprobs[0], static_cast<float>(logits[generation.ids[0]] - lse));
  EXPECT_EQ(generation.top_ids.size(), 8u);
  EXPECT_EQ(generation.tail_logprobs.size(), 1u);
}

}  // namespace
}  // namespace retort::student
