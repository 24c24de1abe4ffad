#include "student/inference/step_crew.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace retort::student {
namespace {

TEST(StepCrewTest, RunsEveryTaskOnceInManyShortLoops) {
  for (const int32_t threads : {1, 2, 5}) {
    StepCrew crew(threads);
    for (int round = 0; round < 3000; ++round) {
      const int32_t tasks = round % 17;
      std::vector<int> counts(
          tasks);  // plain ints: each is touched by one thread, and seen by this one afterwards
      crew.Run(tasks, [&](int32_t task, int32_t worker) {
        ASSERT_LT(worker, threads);
        ++counts[task];
      });
      ASSERT_EQ(counts, std::vector<int>(tasks, 1));
    }
  }
}

TEST(StepCrewTest, WakesThreadsThatSleep) {
  StepCrew crew(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // long enough for the crew to go to sleep
    std::atomic<int> sum{0};
    crew.Run(64, [&](int32_t task, int32_t) { sum += task; });
    ASSERT_EQ(sum, 2016);
  }
}

}  // namespace
}  // namespace retort::student
