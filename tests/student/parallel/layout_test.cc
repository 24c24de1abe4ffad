#include "student/parallel/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace retort::student {
namespace {

using ::testing::HasSubstr;

TEST(LayoutTest, NeighboursShareAnExpertGroup) {
  const ParallelLayout layout = {2, 2};
  const RankPlace places[] = {{layout, 0}, {layout, 1}, {layout, 2}, {layout, 3}};
  EXPECT_EQ(places[1].data_rank(), 0);
  EXPECT_EQ(places[1].expert_rank(), 1);
  EXPECT_EQ(places[2].data_rank(), 1);
  EXPECT_EQ(places[2].expert_rank(), 0);
  EXPECT_EQ(ExpertsOfRank(places[1], 8).begin, 4);
  EXPECT_EQ(ExpertsOfRank(places[1], 8).end, 8);
  EXPECT_EQ(ExpertsOfRank(places[2], 8).begin, 0);
  EXPECT_EQ(RowsOfRank(places[3], 8).begin, 6);
  EXPECT_EQ(RowsOfRank(places[3], 8).end, 8);
}

TEST(LayoutTest, WhatFitsIsAccepted) {
  EXPECT_EQ(Validate({1, 1}, 1, 8, 1), "");
  EXPECT_EQ(Validate({2, 4}, 8, 8, 16), "");
}

TEST(LayoutTest, EveryMisfitIsNamed) {
  EXPECT_THAT(Validate({0, 1}, 1, 8, 4), HasSubstr("data ranks: 0; wanted 1 to 256"));
  EXPECT_THAT(Validate({1, -3}, 1, 8, 4), HasSubstr("expert ranks: -3; wanted 1 to 256"));
  EXPECT_THAT(Validate({2, 2}, 3, 8, 4),
              HasSubstr("processes: 3; wanted data ranks times expert ranks, 2 * 2 = 4"));
  EXPECT_THAT(Validate({256, 2}, 512, 8, 512), HasSubstr("at most 256"));
  EXPECT_THAT(Validate({1, 3}, 3, 8, 3),
              HasSubstr("expert ranks: 3; wanted a divisor of the 8 routed experts"));
  EXPECT_THAT(Validate({4, 1}, 4, 8, 6),
              HasSubstr("rows of a step: 6; wanted a multiple of the 4 processes"));
  EXPECT_THAT(Validate({4, 1}, 4, 8, 0), HasSubstr("rows of a step: 0"));
}

}  // namespace
}  // namespace retort::student
