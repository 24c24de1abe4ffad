#include "services/identity/call_limits.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "services/edge/status.h"

namespace retort::services {
namespace {

using std::chrono::milliseconds, std::chrono::seconds;

// A clock that stands until it is told.
class CallLimitsTest : public testing::Test {
 protected:
  CallLimitsOptions Options() {
    CallLimitsOptions options{.calls_per_second = 10,
                              .burst = 4,
                              .calls_of_identity = 3,
                              .calls = 5,
                              .streams_of_identity = 2,
                              .streams = 3};
    options.now = [this] { return now_; };
    return options;
  }
  static std::string LimitOf(const absl::Status& status) { return MetadataOf(status).at("limit"); }
  static milliseconds BackIn(const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(ReasonOf(status), LIMIT_EXCEEDED);
    return RetryAfterOf(status).value_or(milliseconds(-1));
  }

  std::chrono::steady_clock::time_point now_ = std::chrono::steady_clock::now();
};

TEST_F(CallLimitsTest, ABurstThenTheRate) {
  CallLimits limits(Options());
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(limits.Take("anna", false).ok()) << i;
  const auto refused = limits.Take("anna", false);
  EXPECT_EQ(LimitOf(refused.status()), "calls of this identity a second");
  EXPECT_EQ(BackIn(refused.status()), milliseconds(100));
  EXPECT_TRUE(limits.Take("bo", false).ok()) << "one caller's rate is not another's";
  now_ += milliseconds(100);
  EXPECT_TRUE(limits.Take("anna", false).ok());
  EXPECT_FALSE(limits.Take("anna", false).ok());
  now_ += seconds(100);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(limits.Take("anna", false).ok()) << "no more than a burst is saved";
  EXPECT_FALSE(limits.Take("anna", false).ok());
}

TEST_F(CallLimitsTest, RefusedCallersGetTimesOneAfterTheOther) {
  CallLimits limits(Options());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(limits.Take("anna", false).ok());
  for (int i = 1; i <= 20; ++i)
    EXPECT_EQ(BackIn(limits.Take("anna", false).status()), milliseconds(100 * i)) << i;
  for (int i = 0; i < 200; ++i) (void)limits.Take("anna", false);
  EXPECT_EQ(BackIn(limits.Take("anna", false).status()), kReturnMax);
  now_ += seconds(60);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(limits.Take("anna", false).ok());
  EXPECT_EQ(BackIn(limits.Take("anna", false).status()), milliseconds(100))
      << "times that have passed are free";
}

TEST_F(CallLimitsTest, CallsThatAreOpenAreCounted) {
  CallLimits limits(Options());
  std::vector<CallLimits::Ticket> open;
  for (int i = 0; i < 3; ++i) open.push_back(*limits.Take("anna", false));
  EXPECT_EQ(LimitOf(limits.Take("anna", false).status()), "calls of this identity at once");
  for (int i = 0; i < 2; ++i) open.push_back(*limits.Take("bo", false));
  const auto refused = limits.Take("cleo", false);
  EXPECT_EQ(LimitOf(refused.status()), "calls of this server at once");
  EXPECT_EQ(MetadataOf(refused.status()).at("wanted_at_most"), "5");
  EXPECT_GE(BackIn(refused.status()), kReturnMin);
  EXPECT_TRUE(limits.Take("cleo", true).ok()) << "streams are counted by themselves";
  open.pop_back();
  EXPECT_TRUE(limits.Take("cleo", false).ok());
}

TEST_F(CallLimitsTest, StreamsThatAreOpenAreCounted) {
  CallLimits limits(Options());
  std::vector<CallLimits::Ticket> open;
  for (int i = 0; i < 2; ++i) open.push_back(*limits.Take("anna", true));
  EXPECT_EQ(LimitOf(limits.Take("anna", true).status()), "streams of this identity");
  open.push_back(*limits.Take("bo", true));
  const auto refused = limits.Take("cleo", true);
  EXPECT_EQ(LimitOf(refused.status()), "streams of this server");
  EXPECT_EQ(BackIn(refused.status()), seconds(1));
  EXPECT_TRUE(limits.Take("cleo", false).ok());
  open.clear();
  EXPECT_TRUE(limits.Take("anna", true).ok());
}

// A full server tells the refused to come at the pace at which it ends calls.
TEST_F(CallLimitsTest, TimesFollowThePaceOfTheServer) {
  CallLimitsOptions options = Options();
  options.calls_per_second = options.burst = 100'000;
  options.calls_of_identity = options.calls;
  CallLimits limits(options);
  std::vector<CallLimits::Ticket> open;
  for (int i = 0; i < 5; ++i) open.push_back(*limits.Take("anna", false));
  for (int i = 0; i < 200; ++i) {
    now_ += milliseconds(50);
    open.pop_back();
    open.push_back(*limits.Take("anna", false));
  }
  const auto first = BackIn(limits.Take("bo", false).status());
  const auto second = BackIn(limits.Take("bo", false).status());
  EXPECT_NEAR(static_cast<double>(first.count()), 50, 2);
  EXPECT_NEAR(static_cast<double>(second.count()), 100, 4);
}

TEST_F(CallLimitsTest, ThreadsLeaveNothingOpen) {
  CallLimitsOptions options = Options();
  options.now = std::chrono::steady_clock::now;
  options.calls_per_second = options.burst = 1'000'000;
  CallLimits limits(options);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) (void)limits.Take(t % 2 ? "anna" : "bo", i % 3 == 0);
    });
  }
  for (auto& thread : threads) thread.join();
  std::vector<CallLimits::Ticket> open;
  for (int i = 0; i < 3; ++i) open.push_back(*limits.Take("anna", false));
  for (int i = 0; i < 2; ++i) open.push_back(*limits.Take("bo", false));
  EXPECT_FALSE(limits.Take("bo", false).ok());
}

}  // namespace
}  // namespace retort::services
