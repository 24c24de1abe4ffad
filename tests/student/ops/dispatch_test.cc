#include "student/ops/dispatch.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

TEST(DispatchTest, SortsStably) {
  // Three tokens, two of four experts each; expert 2 gets none.
  const std::vector<std::int32_t> chosen = {0, 3, 1, 3, 0, 1};
  const std::vector<float> weights = {1, 2, 3, 4, 5, 6};
  Dispatch dispatch;
  SortByExpert(chosen.data(), weights.data(), 3, 2, 4, &dispatch);
  EXPECT_EQ(dispatch.offsets, (std::vector<std::int32_t>{0, 2, 4, 4, 6}));
  EXPECT_EQ(dispatch.slot_tokens, (std::vector<std::int32_t>{0, 2, 1, 2, 0, 1}));
  EXPECT_EQ(dispatch.slot_weights, (std::vector<float>{1, 5, 3, 6, 2, 4}));
  EXPECT_EQ(dispatch.token_slots, (std::vector<std::int32_t>{0, 4, 2, 5, 1, 3}));
  EXPECT_EQ(dispatch.slots(2), 0);
}

TEST(DispatchTest, GatherSumBringsSlotsHome) {
  const std::vector<std::int32_t> chosen = {0, 3, 1, 3, 0, 1};
  const std::vector<float> weights(6, 1.0f);
  Dispatch dispatch;
  SortByExpert(chosen.data(), weights.data(), 3, 2, 4, &dispatch);
  const std::vector<float> slots = {1, 2, 10, 20, 100, 200, 1000, 2000, 1e4, 2e4, 1e5, 2e5};
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    std::vector<float> y(6, 0.5f);
    GatherSum(machine.compute, dispatch, slots.data(), 3, 2, 2, y.data());
    EXPECT_EQ(y, (std::vector<float>{10001.5, 20002.5, 100100.5, 200200.5, 1010.5, 2020.5}));
  }
}

}  // namespace
}  // namespace retort::student
