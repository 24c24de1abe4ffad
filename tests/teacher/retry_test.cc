#include "teacher/retry.h"

#include <gtest/gtest.h>

#include <atomic>

namespace retort::teacher {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

// 1994-11-06 08:49:37 UTC, the date that RFC 9110 section 5.6.7 uses.
const system_clock::time_point kThen{seconds(784111777)};

TEST(RetryAfterTest, ReadsSeconds) {
  EXPECT_EQ(ParseRetryAfter("120", kThen), milliseconds(120'000));
  EXPECT_EQ(ParseRetryAfter(" 0 ", kThen), milliseconds(0));
  EXPECT_EQ(ParseRetryAfter("1.5", kThen), milliseconds(1500));
  EXPECT_EQ(ParseRetryAfter("0.25", kThen), milliseconds(250));
  EXPECT_EQ(ParseRetryAfter("2.0001", kThen), milliseconds(2001));  // up, never early
  EXPECT_EQ(ParseRetryAfter("3.", kThen), milliseconds(3000));
}

TEST(RetryAfterTest, ReadsHttpDates) {
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:50:37 GMT", kThen), milliseconds(60'000));
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:49:37 GMT", kThen - milliseconds(1)), milliseconds(1));
  EXPECT_EQ(ParseRetryAfter("Sun, 06 Nov 1994 08:00:00 GMT", kThen), milliseconds(0));  // skewed clocks
  EXPECT_EQ(ParseRetryAfter("Thu, 29 Feb 1996 00:00:00 GMT", kThen), milliseconds(86'400'000));
}

TEST(RetryAfterTest, CutsAbsurdWaitsToADay) {
  EXPECT_EQ(ParseRetryAfter("999999999", kThen), milliseconds(86'400'000));
  EXPECT_EQ(ParseRetryAfter("99999999999999999999999999", kThen), milliseconds(86'400'000));
}

TEST(RetryAfterTest, RefusesOtherText) {
  for (const char* bad :
       {"", "-1", "soon", "1s", "1.2.3", ".5", "1e3", "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 anF 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMTx"}) {
    EXPECT_EQ(ParseRetryAfter(bad, kThen), std::nullopt) << bad;
  }
}

TEST(ClassifyStatusTest, FollowsTheTable) {
  for (const int status : {408, 409, 425, 500, 502, 504})
    EXPECT_EQ(ClassifyStatus(status), RetryClass::kTransient) << status;
  for (const int status : {503, 529}) EXPECT_EQ(ClassifyStatus(status), RetryClass::kOverload) << status;
  EXPECT_EQ(ClassifyStatus(429), RetryClass::kPace);
  for (const int status : {200, 301, 400, 401, 402, 403, 404, 413, 422, 501, 0, -1}) {
    EXPECT_EQ(ClassifyStatus(status), RetryClass::kNever) << status;
  }
}

class NextWaitTest : public testing::Test {
 protected:
  absl::StatusOr<milliseconds> Wait(int attempt, RetryClass retry_class,
                                    std::optional<milliseconds> retry_after = {}, double chance = 0.5) {
    return NextWait(options_, attempt, retry_class, retry_after, failure_, limits_, now_, chance);
  }
  const absl::Status failure_ = absl::UnavailableError("the teacher answered 502");
  const steady_clock::time_point now_{};
  RetryOptions options_;
  CallLimits limits_;
};

TEST_F(NextWaitTest, DoublesWithFullJitterUpToTheBound) {
  options_.attempts_max = 100;
  EXPECT_EQ(*Wait(1, RetryClass::kTransient), milliseconds(250));
  EXPECT_EQ(*Wait(2, RetryClass::kTransient), milliseconds(500));
  EXPECT_EQ(*Wait(3, RetryClass::kTransient), milliseconds(1000));
  EXPECT_EQ(*Wait(99, RetryClass::kTransient), milliseconds(15'000));
  EXPECT_EQ(*Wait(3, RetryClass::kTransient, {}, 0.0), milliseconds(0));
  EXPECT_EQ(*Wait(1, RetryClass::kOverload), milliseconds(1000));
}

TEST_F(NextWaitTest, HonoursRetryAfterUpToTheBound) {
  EXPECT_EQ(*Wait(1, RetryClass::kPace, milliseconds(7000)), milliseconds(7000));
  EXPECT_EQ(*Wait(1, RetryClass::kPace, milliseconds(1)), milliseconds(250));  // never below our own back-off
  EXPECT_EQ(*Wait(1, RetryClass::kPace, options_.retry_after_max), options_.retry_after_max);
  const auto refused = Wait(1, RetryClass::kPace, options_.retry_after_max + milliseconds(1));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(refused.status().message(),
            "the teacher answered 502; the endpoint asks to wait 301 s, at most 300 s are waited here");
}

TEST_F(NextWaitTest, EndsWhenNothingCanBeWon) {
  EXPECT_EQ(Wait(1, RetryClass::kNever).status(), failure_);
  EXPECT_TRUE(Wait(4, RetryClass::kTransient).ok());
  EXPECT_EQ(Wait(5, RetryClass::kTransient).status().message(),
            "the teacher answered 502; gave up after 5 attempts");
}

TEST_F(NextWaitTest, EndsWhenTheDeadlineComesFirst) {
  limits_.deadline = now_ + seconds(2);
  EXPECT_TRUE(Wait(1, RetryClass::kPace, milliseconds(1999)).ok());
  const auto late = Wait(1, RetryClass::kPace, milliseconds(2000));
  EXPECT_EQ(late.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(late.status().message(),
            "the teacher answered 502; the deadline leaves no time for attempt 2 after a wait of 2 s");
}

TEST(RealEnvironmentTest, SleepEndsEarly) {
  const RetryEnvironment real = RetryEnvironment::Real();
  CallLimits cancelled;
  cancelled.cancelled = [] { return true; };
  EXPECT_EQ(real.sleep(seconds(60), cancelled).code(), absl::StatusCode::kCancelled);
  CallLimits late;
  late.deadline = steady_clock::now() + milliseconds(5);
  EXPECT_EQ(real.sleep(seconds(60), late).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(real.sleep(milliseconds(1), {}).ok());
  const double chance = real.chance();
  EXPECT_GE(chance, 0.0);
  EXPECT_LT(chance, 1.0);
}

}  // namespace
}  // namespace retort::teacher
