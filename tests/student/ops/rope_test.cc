#include "student/ops/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

TEST(RopeTest, TurnsAdjacentPairs) {
  // dim 4, theta 100: pair 0 turns by 1 a position, pair 1 by 100^(-2/4) = 0.1.
  const RopeTable table(100.0, 4, 8);
  Machine machine(Isa::kPlain);
  std::vector<float> x = {1, 0, 0, 1};
  const std::int32_t position = 3;
  Rope(machine.compute, table, &position, 1, 1, false, x.data(), 4, 4);
  EXPECT_NEAR(x[0], std::cos(3.0), 1e-7);
  EXPECT_NEAR(x[1], std::sin(3.0), 1e-7);
  EXPECT_NEAR(x[2], -std::sin(0.3), 1e-7);
  EXPECT_NEAR(x[3], std::cos(0.3), 1e-7);
}

TEST(RopeTest, BackwardUndoesForward) {
  const RopeTable table(10000.0, 16, 40);
  Machine machine(Isa::kPlain);
  std::vector<std::int32_t> positions(40);
  for (int i = 0; i < 40; ++i) positions[i] = i;
  const auto original = Numbers(40 * 50, 1);
  auto x = original;
  Rope(machine.compute, table, positions.data(), 40, 2, false, x.data() + 5, 50, 20);
  EXPECT_EQ(x[4], original[4]);    // before the first vector
  EXPECT_EQ(x[21], original[21]);  // between the two
  EXPECT_NE(x[50 + 5], original[50 + 5]);
  Rope(machine.compute, table, positions.data(), 40, 2, true, x.data() + 5, 50, 20);
  ExpectClose(x, original, 3e-7, "rope there and back");
}

TEST(RopeTest, ScoresDependOnDistanceAlone) {
  const RopeTable table(10000.0, 8, 100);
  Machine machine(Isa::kPlain);
  const auto score = [&](std::int32_t query_position, std::int32_t key_position) {
    auto q = Numbers(8, 1), k = Numbers(8, 2);
    Rope(machine.compute, table, &query_position, 1, 1, false, q.data(), 8, 8);
    Rope(machine.compute, table, &key_position, 1, 1, false, k.data(), 8, 8);
    double sum = 0;
    for (int i = 0; i < 8; ++i) sum += static_cast<double>(q[i]) * k[i];
    return sum;
  };
  EXPECT_NEAR(score(9, 4), score(94, 89), 1e-5);
  EXPECT_GT(std::fabs(score(9, 4) - score(9, 5)), 1e-3);
}

}  // namespace
}  // namespace retort::student
