// Ranks that talk over NCCL, here the one of tests/cuda_on_cpu.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/student/parallel/rank_processes.h"

namespace retort::student {
namespace {

using ::testing::HasSubstr;

class NcclTest : public ::testing::Test {
 protected:
  NcclTest() {
    char path[] = "/tmp/retort-nccl-XXXXXX";
    folder_ = mkdtemp(path);
  }
  ~NcclTest() override { std::filesystem::remove_all(folder_); }

  std::vector<RankEnd> Launch(int data, int experts, const std::string& scenario) {
    std::filesystem::remove(folder_ + "/id");
    return RankProcesses(NCCL_RANK, {folder_, std::to_string(data), std::to_string(experts), scenario},
                         data * experts)
        .Wait();
  }

  std::string folder_;
};

TEST_F(NcclTest, EveryCallInEveryGroup) {
  const int shapes[][2] = {{2, 1}, {2, 2}};
  for (const auto& [data, experts] : shapes) {
    for (const RankEnd& end : Launch(data, experts, "exchange")) EXPECT_EQ(end.exit_code, 0) << end.output;
  }
}

TEST_F(NcclTest, DeadRankEndsTheOthersWhoNameIt) {
  const std::vector<RankEnd> ends = Launch(3, 1, "die");
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(ends[rank].exit_code, 2) << ends[rank].output;
    EXPECT_THAT(ends[rank].output, HasSubstr("ended: rank 2 ended in the middle of the run"));
  }
}

// Where no memory is shared, NCCL's own report remains, which names nobody.
TEST_F(NcclTest, DeadRankOfAnotherMachineEndsTheOthersToo) {
  const std::vector<RankEnd> ends = Launch(3, 1, "die-far");
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(ends[rank].exit_code, 2) << ends[rank].output;
    EXPECT_THAT(ends[rank].output, HasSubstr("another rank ended"));
  }
}

TEST_F(NcclTest, RankThatStaysAwayIsNotWaitedForBeyondThePatience) {
  const std::vector<RankEnd> ends = Launch(2, 1, "stall");
  EXPECT_EQ(ends[0].exit_code, 2);
  EXPECT_THAT(ends[0].output, HasSubstr("a reduction did not end within 2 s; another rank does not come"));
}

// Long before the patience of a minute.
TEST_F(NcclTest, AbortEndsTheOthersWithItsReason) {
  const auto begun = std::chrono::steady_clock::now();
  for (const RankEnd& end : Launch(3, 1, "abort")) {
    EXPECT_EQ(end.exit_code, 2) << end.output;
    EXPECT_THAT(end.output, HasSubstr("ended: rank 2: the disk is full"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20));
}

TEST_F(NcclTest, ALostDeviceEndsAllWithTheRankThatLostIt) {
  const auto begun = std::chrono::steady_clock::now();
  for (const RankEnd& end : Launch(3, 1, "lose")) {
    EXPECT_EQ(end.exit_code, 2) << end.output;
    EXPECT_THAT(end.output, HasSubstr("ended: rank 2: a reduction: unhandled cuda error"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20));
}

TEST_F(NcclTest, MissingRankIsNotWaitedForBeyondThePatience) {
  RankProcesses ranks(NCCL_RANK, {folder_, "2", "1", "missing"}, 2, {0});
  const std::vector<RankEnd> ends = ranks.Wait();
  EXPECT_EQ(ends[0].exit_code, 2);
  EXPECT_THAT(
      ends[0].output,
      HasSubstr("of 2 ranks not all came to NCCL within 2 s; rank 0 waited, not seen on its machine: 1"));
}

TEST_F(NcclTest, IdOfAnotherLengthIsRefused) {
  for (const RankEnd& end : Launch(2, 1, "short-id")) {
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(end.output, HasSubstr("NCCL id: 5 bytes; wanted 128"));
  }
}

}  // namespace
}  // namespace retort::student
