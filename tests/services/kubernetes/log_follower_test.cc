#include "services/kubernetes/log_follower.h"

#include <gtest/gtest.h>

namespace retort::kubernetes {
namespace {

TEST(LogLineTest, ReadsTheTimeOfTheKubelet) {
  const auto line = ParseLogLine("2026-11-22T14:00:00.123456789Z {\"event\":\"step\"}");
  ASSERT_TRUE(line.has_value());
  EXPECT_EQ(line->nanoseconds, 1795356000123456789);
  EXPECT_EQ(line->text, "{\"event\":\"step\"}");
  // Trailing zeros are left out, and a node may have a time zone.
  EXPECT_EQ(ParseLogLine("2026-11-22T14:00:00.1Z x")->nanoseconds, 1795356000100000000);
  EXPECT_EQ(ParseLogLine("2026-11-22T16:00:00+02:00 x")->nanoseconds, 1795356000000000000);
  EXPECT_EQ(ParseLogLine("2026-11-22T14:00:00Z ")->text, "");
}

TEST(LogLineTest, RefusesLinesWithoutOne) {
  for (const char* line :
       {"", " ", "x", "2026-11-22T14:00:00Z", "infinite-future x", "yesterday x", "1969-12-31T23:59:59Z x",
        "9999-01-01T00:00:00Z x", "2026-11-22T14:00:00.0000000000000000000000000000000000Z x"}) {
    EXPECT_FALSE(ParseLogLine(line).has_value()) << line;
  }
}

TEST(LogPositionTest, IsItsOwnInverse) {
  const LogPosition position = {"u-1", 1795356000123456789, 3};
  const auto again = LogPosition::Parse(position.ToString());
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->pod_uid, "u-1");
  EXPECT_EQ(again->nanoseconds, 1795356000123456789);
  EXPECT_EQ(again->count, 3);
  for (const char* text : {"", "u", "u 1", "u 1 0", "u -1 1", "u x 1", " 1 1", "u 1 1 1"}) {
    EXPECT_FALSE(LogPosition::Parse(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace retort::kubernetes
