#include "student/optimizer/schedule.h"

#include <gtest/gtest.h>

namespace retort::student {
namespace {

TEST(ScheduleTest, WarmsUpAndFollowsTheCosine) {
  const Schedule schedule = {.peak = 2.0, .warmup_steps = 4, .total_steps = 15};
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 0), 0.5);
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 3), 2.0);
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 4), 2.0);
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 9), 0.5 * (2.0 + 0.2));  // half way
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 14), 0.2);
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 15), 0.2);
  EXPECT_DOUBLE_EQ(LearningRate(schedule, 1000), 0.2);
  for (int step = 5; step < 15; ++step)
    EXPECT_LT(LearningRate(schedule, step), LearningRate(schedule, step - 1));
}

TEST(ScheduleTest, SurvivesTheShortestRuns) {
  EXPECT_DOUBLE_EQ(LearningRate({.peak = 1, .warmup_steps = 0, .total_steps = 1}, 0), 0.1);
  EXPECT_DOUBLE_EQ(LearningRate({.peak = 1, .warmup_steps = 1, .total_steps = 1}, 0), 1);
  EXPECT_DOUBLE_EQ(LearningRate({.peak = 1, .warmup_steps = 1, .total_steps = 2}, 1), 0.1);
}

TEST(ScheduleTest, BalancingStopsForTheLastThreePercent) {
  EXPECT_EQ(ExpertBiasRate(0, 200), 1e-3);
  EXPECT_EQ(ExpertBiasRate(193, 200), 1e-3);
  EXPECT_EQ(ExpertBiasRate(194, 200), 0);
  EXPECT_EQ(ExpertBiasRate(199, 200), 0);
  EXPECT_EQ(ExpertBiasRate(10, 200, 0.5), 0.5);
}

}  // namespace
}  // namespace retort::student
