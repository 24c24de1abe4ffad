#include "services/cli/interrupt.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

namespace retort::services {
namespace {

TEST(InterruptTest, CallsBackOnTheFirstSignal) {
  std::mutex mutex;
  std::condition_variable called;
  int calls = 0;
  Interrupt interrupt;
  EXPECT_FALSE(interrupt.requested());
  interrupt.SetCallback([&] {
    std::lock_guard lock(mutex);
    ++calls;
    called.notify_one();
  });
  kill(getpid(), SIGINT);
  std::unique_lock lock(mutex);
  ASSERT_TRUE(called.wait_for(lock, std::chrono::seconds(10), [&] { return calls == 1; }));
  EXPECT_TRUE(interrupt.requested());
}

TEST(InterruptTest, CallbackThatComesLateRunsAtOnce) {
  std::mutex mutex;
  std::condition_variable called;
  bool first = false;
  Interrupt interrupt;
  interrupt.SetCallback([&] {
    std::lock_guard lock(mutex);
    first = true;
    called.notify_one();
  });
  kill(getpid(), SIGTERM);
  {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(called.wait_for(lock, std::chrono::seconds(10), [&] { return first; }));
  }
  bool second = false;
  interrupt.SetCallback([&] { second = true; });
  EXPECT_TRUE(second);
}

TEST(InterruptTest, SecondSignalEndsTheProcess) {
  EXPECT_EXIT(
      {
        Interrupt interrupt;
        kill(getpid(), SIGINT);
        while (!interrupt.requested()) usleep(1000);
        kill(getpid(), SIGINT);
        for (;;) pause();
      },
      testing::ExitedWithCode(130), "");
}

}  // namespace
}  // namespace retort::services
