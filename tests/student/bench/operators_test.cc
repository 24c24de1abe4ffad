#include "student/bench/operators.h"

#include <gtest/gtest.h>

#include <set>

#include "student/device/cpu_backend.h"
#include "student/threads/thread_pool.h"

namespace retort::student {
namespace {

TEST(OperatorTimeTest, BoundIsTheSlowerOfArithmeticAndMemory) {
  const Ceilings ceilings = {.flops = 100, .bytes = 10};
  const OperatorTime product = {.name = "", .flops = 1000, .bytes = 50, .seconds = 20};
  EXPECT_EQ(product.bound(ceilings), 10);
  EXPECT_FALSE(product.memory_bound(ceilings));
  const OperatorTime copy = {.name = "", .flops = 0, .bytes = 50, .seconds = 20};
  EXPECT_EQ(copy.bound(ceilings), 5);
  EXPECT_TRUE(copy.memory_bound(ceilings));
}

TEST(OperatorsTest, EveryOperatorIsMeasuredOnce) {
  ThreadPool pool(1);
  const auto backend = MakeCpuBackend(pool);
  const std::vector<OperatorTime> times =
      MeasureOperators(*backend, UnitConfig(), {.tokens = 40, .document = 16, .teacher_k = 4}, 1e-6);
  std::set<std::string> names;
  for (const OperatorTime& time : times) {
    EXPECT_TRUE(names.insert(time.name).second) << time.name;
    EXPECT_GT(time.seconds, 0) << time.name;
    EXPECT_GT(time.bytes, 0) << time.name;
  }
  EXPECT_EQ(names.size(), 23u);
}

// The products of the table by hand: 2 * rows * in * out.
TEST(OperatorsTest, OperationsAreThoseOfTheShape) {
  ThreadPool pool(1);
  const auto backend = MakeCpuBackend(pool);
  const ModelConfig config = UnitConfig();  // hidden 64, 2 heads of value 32, experts 8 of 32, 2 a token
  const auto times = MeasureOperators(*backend, config, {.tokens = 8, .document = 4, .teacher_k = 2}, 1e-6);
  const auto flops = [&](const std::string& name) {
    for (const OperatorTime& time : times) {
      if (time.name == name) return time.flops;
    }
    return -1.0;
  };
  EXPECT_EQ(flops("linear"), 2.0 * 8 * 64 * 64);
  EXPECT_EQ(flops("experts"), 2.0 * (8 * 2) * 64 * (2 * 32));
  // Two documents of 4: 10 pairs each, 2 heads, 48 for the score and 32 for the value.
  EXPECT_EQ(flops("attention"), 2.0 * 20 * 2 * (48 + 32));
  EXPECT_EQ(flops("attention backward"), 2.0 * 20 * 2 * (3 * 48 + 2 * 32));
  EXPECT_EQ(flops("head and loss"), 6.0 * 8 * 64 * 512);
  EXPECT_EQ(flops("swiglu"), 0);
}

}  // namespace
}  // namespace retort::student
