// Ranks as real processes that talk through shared memory.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "student/parallel/shared_memory.h"
#include "tests/student/parallel/rank_processes.h"

namespace retort::student {
namespace {

using ::testing::HasSubstr;

const char kProgram[] = COLLECTIVES_RANK;

std::vector<RankEnd> RunRanks(int data, int experts, const std::string& scenario, const std::string& name) {
  RankProcesses ranks(kProgram, {name, std::to_string(data), std::to_string(experts), scenario},
                      data * experts);
  return ranks.Wait();
}

bool NameIsGone(const std::string& name) {
  const int file = shm_open(name.c_str(), O_RDWR, 0);
  if (file >= 0) close(file);
  return file < 0 && errno == ENOENT;
}

bool AwaitName(const std::string& name) {
  for (int i = 0; i < 2000 && NameIsGone(name); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return !NameIsGone(name);
}

struct Shape {
  int data, experts;
};
class ExchangeTest : public ::testing::TestWithParam<Shape> {};

TEST_P(ExchangeTest, EveryCallInEveryGroup) {
  const std::string name = FreshName();
  for (const RankEnd& end : RunRanks(GetParam().data, GetParam().experts, "exchange", name)) {
    EXPECT_EQ(end.exit_code, 0) << end.output;
  }
  EXPECT_TRUE(NameIsGone(name));
}

INSTANTIATE_TEST_SUITE_P(Shapes, ExchangeTest,
                         ::testing::Values(Shape{1, 1}, Shape{2, 1}, Shape{1, 2}, Shape{4, 1}, Shape{2, 2},
                                           Shape{1, 4}, Shape{3, 2}));

TEST(CollectivesTest, DeadRankEndsTheRunByName) {
  const std::vector<RankEnd> ends = RunRanks(4, 1, "die", FreshName());
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(ends[rank].exit_code, 2);
    EXPECT_THAT(ends[rank].output, HasSubstr("rank 3 ended in the middle of the run"));
  }
  EXPECT_EQ(ends[3].signal, 9);
}

TEST(CollectivesTest, RankThatStaysAwayEndsTheRunByName) {
  const std::vector<RankEnd> ends = RunRanks(2, 1, "stall", FreshName());
  for (const RankEnd& end : ends) {
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(end.output, HasSubstr("rank 1 did not come to a barrier within 1.0 s; rank 0 waited"));
  }
}

TEST(CollectivesTest, AbortGivesItsReasonToAll) {
  for (const RankEnd& end : RunRanks(2, 2, "abort", FreshName())) {
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(end.output, HasSubstr("rank 3: the disk is full"));
  }
}

TEST(CollectivesTest, MissingRanksAreNamed) {
  const std::string name = FreshName();
  RankProcesses ranks(kProgram, {name, "4", "1", "missing"}, 4, {0, 2});
  const std::vector<RankEnd> ends = ranks.Wait();
  for (const RankEnd& end : ends) {
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(end.output, HasSubstr("not joined (retry): of 4 ranks 2 did not come within 1.0 s: 1, 3"));
  }
  EXPECT_TRUE(NameIsGone(name));
}

TEST(CollectivesTest, MissingRankZeroIsNamed) {
  RankProcesses ranks(kProgram, {FreshName(), "2", "1", "missing"}, 2, {1});
  const std::vector<RankEnd> ends = ranks.Wait();
  EXPECT_EQ(ends[0].exit_code, 2);
  EXPECT_THAT(ends[0].output, HasSubstr("not joined (retry): rank 0 did not come within 1.0 s"));
}

TEST(CollectivesTest, OtherCardIsRefusedAndBothAreNamed) {
  const std::string name = FreshName();
  for (const RankEnd& end : RunRanks(2, 1, "other-card", name)) {
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(
        end.output,
        HasSubstr("not joined (final): rank 1 is 'binary aa, manifest cc', rank 0 is 'binary aa, manifest "
                  "bb'; wanted the same on all ranks"));
  }
  EXPECT_TRUE(NameIsGone(name));
}

TEST(CollectivesTest, OtherLayoutIsRefused) {
  for (const RankEnd& end : RunRanks(2, 1, "other-layout", FreshName())) {
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(end.output, HasSubstr("rank 1 was started with 1 data ranks, 2 expert ranks"));
    EXPECT_THAT(end.output, HasSubstr("rank 0 with 2 data ranks, 1 expert ranks"));
  }
}

TEST(CollectivesTest, MemoryOfADeadLaunchIsReplaced) {
  const std::string name = FreshName();
  {
    RankProcesses dead(kProgram, {name, "2", "1", "exchange"}, 2, {0});  // waits for rank 1
    ASSERT_TRUE(AwaitName(name));
  }
  ASSERT_FALSE(NameIsGone(name));
  for (const RankEnd& end : RunRanks(2, 1, "exchange", name)) EXPECT_EQ(end.exit_code, 0) << end.output;
  EXPECT_TRUE(NameIsGone(name));
}

TEST(CollectivesTest, SecondProcessOfOneRankIsRefused) {
  const std::string name = FreshName();
  RankProcesses ranks(kProgram, {name, "3", "1", "missing"}, 3, {0, 1, 1});
  const std::vector<RankEnd> ends = ranks.Wait();
  EXPECT_THAT(ends[1].output + ends[2].output, HasSubstr("rank 1 is taken by another process"));
  EXPECT_THAT(ends[1].output + ends[2].output, HasSubstr("of 3 ranks 1 did not come within 1.0 s: 2"));
}

TEST(CollectivesTest, SecondLaunchIsRefused) {
  const std::string name = FreshName();
  RankProcesses first(kProgram, {name, "2", "1", "exchange"}, 2, {0});
  ASSERT_TRUE(AwaitName(name));
  RankProcesses second(kProgram, {name, "2", "1", "exchange"}, 2, {0});
  EXPECT_THAT(second.Wait()[0].output, HasSubstr("another rank 0 holds it; wanted one launch at a time"));
  shm_unlink(name.c_str());  // the first launch is killed before its ranks have come
}

TEST(CollectivesTest, MalformedOptionsAreRefused) {
  std::string problem;
  bool retry = true;
  EXPECT_EQ(SharedMemoryWorld::Join({.name = "no-slash"}, &problem, &retry), nullptr);
  EXPECT_THAT(problem, HasSubstr("'no-slash'; wanted / and 1 to 200"));
  EXPECT_FALSE(retry);
  EXPECT_EQ(SharedMemoryWorld::Join({.name = "/a", .card = std::string(513, 'x')}, &problem, &retry),
            nullptr);
  EXPECT_THAT(problem, HasSubstr("card: 513 bytes; wanted at most 512"));
  EXPECT_EQ(SharedMemoryWorld::Join({.name = "/a", .staging_bytes = 100}, &problem, &retry), nullptr);
  EXPECT_THAT(problem, HasSubstr("staging bytes: 100; wanted a multiple of 4096"));
}

}  // namespace
}  // namespace retort::student
