#include "student/threads/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace retort::student {
namespace {

TEST(ThreadPoolTest, RunsEveryTaskOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const int tasks : {0, 1, 2, 7, 1000}) {
      std::vector<int> runs(tasks, 0);
      pool.Run(tasks, [&](std::int64_t task, int) { ++runs[task]; });
      EXPECT_EQ(runs, std::vector<int>(tasks, 1)) << threads << " threads";
    }
  }
}

TEST(ThreadPoolTest, WorkersHaveTheirOwnNumbers) {
  ThreadPool pool(3);
  std::vector<std::atomic<int>> inside(3);
  std::atomic<bool> shared = false;
  pool.Run(2000, [&](std::int64_t, int worker) {
    ASSERT_GE(worker, 0);
    ASSERT_LT(worker, 3);
    if (inside[worker].fetch_add(1) != 0) shared = true;
    inside[worker].fetch_sub(1);
  });
  EXPECT_FALSE(shared);
}

TEST(ThreadPoolTest, ResultsAreVisibleAfterRun) {
  ThreadPool pool(4);
  std::vector<std::int64_t> values(64, 0);
  for (int round = 0; round < 500; ++round) {
    pool.Run(64, [&](std::int64_t task, int) { values[task] += task; });
    pool.Run(64, [&](std::int64_t task, int) { values[63 - task] += 1; });
  }
  for (int i = 0; i < 64; ++i) EXPECT_EQ(values[i], 500 * (i + 1));
}

TEST(ThreadPoolTest, HasAtLeastOneThread) {
  EXPECT_GE(ThreadPool::DefaultThreads(), 1);
}

TEST(ThreadPoolDeathTest, RefusesNoThreads) {
  EXPECT_DEATH(ThreadPool(0), "threads >= 1");
}

}  // namespace
}  // namespace retort::student
