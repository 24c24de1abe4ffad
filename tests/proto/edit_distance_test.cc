#include "proto/edit_distance.h"

#include <gtest/gtest.h>

namespace retort {
namespace {

TEST(EditDistanceTest, CountsSingleChanges) {
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("job", "job"), 0u);
  EXPECT_EQ(EditDistance("", "job"), 3u);
  EXPECT_EQ(EditDistance("job", ""), 3u);
  EXPECT_EQ(EditDistance("ledger", "leger"), 1u);     // one letter lost
  EXPECT_EQ(EditDistance("leger", "ledger"), 1u);     // one letter gained
  EXPECT_EQ(EditDistance("teacher", "teachar"), 1u);  // one letter replaced
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("ab", "ba"), 2u);  // a swap is two changes
}

}  // namespace
}  // namespace retort
