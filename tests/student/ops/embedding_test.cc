#include "student/ops/embedding.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

TEST(EmbeddingTest, LooksUpAndAddsBack) {
  const std::vector<std::int32_t> tokens = {2, 0, 2};
  const std::vector<float> table = {1, 2, 3, 4, 5, 6}, dx = {1, 10, 2, 20, 4, 40};
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    std::vector<float> x(6), d_table(6, 0.5f);
    Embed(machine.compute, table.data(), tokens, 2, x.data());
    EXPECT_EQ(x, (std::vector<float>{5, 6, 1, 2, 5, 6}));
    EmbedBackward(machine.compute, tokens, dx.data(), 2, d_table.data());
    EXPECT_EQ(d_table, (std::vector<float>{2.5, 20.5, 0.5, 0.5, 5.5, 50.5}));
  }
}

TEST(EmbeddingTest, EqualTokensAddUpInOrder) {
  // 1e8 swallows a 1 that comes after it, so the order shows: (1 + 1e8) - 1e8 = 0 in fp32, but 1e8 - 1e8 + 1
  // = 1.
  const std::vector<std::int32_t> tokens = {0, 0, 0};
  for (const int threads : {1, 3}) {
    Machine machine(Isa::kPlain, threads);
    std::vector<float> first = {0.0f}, last = {0.0f};
    EmbedBackward(machine.compute, tokens, std::vector<float>{1, 1e8f, -1e8f}.data(), 1, first.data());
    EmbedBackward(machine.compute, tokens, std::vector<float>{1e8f, -1e8f, 1}.data(), 1, last.data());
    EXPECT_EQ(first[0], 0);
    EXPECT_EQ(last[0], 1);
  }
}

}  // namespace
}  // namespace retort::student
