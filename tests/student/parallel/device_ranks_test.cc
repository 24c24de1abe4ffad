// Whole runs of ranks on devices: real processes, over the CUDA and NCCL of tests/cuda_on_cpu.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/student/parallel/learner_launch.h"

namespace retort::student {
namespace {

using ::testing::HasSubstr;

constexpr int kSteps = 3, kTokens = 48;

Outcome Train(const ParallelLayout& ranks) {
  return TrainRanks(LEARNER_RANK, kTokens, ranks, kSteps);
}

class DeviceLearnerTest : public ::testing::TestWithParam<ParallelLayout> {};

TEST_P(DeviceLearnerTest, LossesAreThoseOfOneProcessAndTwiceTheSameBits) {
  const Outcome one = Train({1, 1}), several = Train(GetParam());
  ASSERT_EQ(one.losses.size(), std::size_t{kSteps});
  ExpectClose(one, several, kTokens);
  EXPECT_FALSE(several.state.empty());
  EXPECT_EQ(Train(GetParam()).text, several.text);
}

INSTANTIATE_TEST_SUITE_P(Layouts, DeviceLearnerTest,
                         ::testing::Values(ParallelLayout{2, 1}, ParallelLayout{1, 2}, ParallelLayout{4, 1},
                                           ParallelLayout{2, 2}));

// A state that one layout leaves is taken up by another, its experts handed out anew.
TEST(DeviceLearnerStateTest, FitsOtherNumbersOfRanks) {
  const Outcome one = Train({1, 1});
  char path[] = "/tmp/retort-device-state-XXXXXX";
  const std::string folder = mkdtemp(path);
  int steps = 0;
  for (const ParallelLayout& ranks : {ParallelLayout{2, 2}, ParallelLayout{1, 2}, ParallelLayout{2, 1}}) {
    const Outcome next = TrainRanks(LEARNER_RANK, kTokens, ranks, ++steps, folder);
    ASSERT_EQ(next.losses.size(), 1u);
    const std::size_t step = static_cast<std::size_t>(steps) - 1;
    EXPECT_NEAR(next.losses[0], one.losses[step], RankBound(one.losses[step], step, kTokens));
  }
  std::filesystem::remove_all(folder);
}

// What stays away is named, and not waited for beyond the patience.
TEST(DeviceLearnerStartTest, AMissingRankIsNamed) {
  RankProcesses ranks(LEARNER_RANK, {FreshName(), "2", "1", "1", "0"}, 2, {0});
  const std::vector<RankEnd> ends = ranks.Wait();
  EXPECT_EQ(ends[0].exit_code, 2);
  EXPECT_THAT(ends[0].output, HasSubstr("of 2 ranks not all came to NCCL within 20 s"));
  EXPECT_THAT(ends[0].output, HasSubstr("not seen on its machine: 1"));
}

#ifdef TRAINER_RANK

class DeviceTrainerTest : public ::testing::Test {
 protected:
  DeviceTrainerTest() {
    char path[] = "/tmp/retort-device-ranks-XXXXXX";
    root_ = mkdtemp(path);
  }
  ~DeviceTrainerTest() override { std::filesystem::remove_all(root_); }

  std::vector<std::string> Arguments(const std::string& run) const {
    return {FreshName(), "2", "2", root_ + "/" + run};
  }
  // The line with the digests of a run that must finish.
  std::string Finish(const std::string& run) {
    const std::vector<RankEnd> ends =
        RankProcesses(TRAINER_RANK, Arguments(run), 4).Wait(std::chrono::seconds(240));
    for (const RankEnd& end : ends) EXPECT_EQ(end.exit_code, 0) << end.output;
    const std::string& text = ends[0].output;
    const std::size_t at = text.find("digest ");
    EXPECT_NE(at, std::string::npos) << text;
    return at == std::string::npos ? "" : text.substr(at);
  }

  std::string root_;
};

TEST_F(DeviceTrainerTest, AKilledRankEndsAllAndARelaunchReachesTheUndisturbedDigest) {
  const std::string undisturbed = Finish("undisturbed");
  constexpr int kVictim = 2;
  RankProcesses ranks(TRAINER_RANK, Arguments("killed"), 4);
  ASSERT_TRUE(ranks.AwaitOutput(kVictim, "step 3"));
  ranks.Kill(kVictim, SIGKILL);
  const auto killed = std::chrono::steady_clock::now();
  const std::vector<RankEnd> ends = ranks.Wait();
  EXPECT_LT(std::chrono::steady_clock::now() - killed, std::chrono::seconds(30));
  for (int rank = 0; rank < 4; ++rank) {
    if (rank == kVictim) {
      EXPECT_EQ(ends[rank].signal, SIGKILL);
      continue;
    }
    EXPECT_EQ(ends[rank].exit_code, 2) << ends[rank].output;
    EXPECT_THAT(ends[rank].output, HasSubstr("ended: UNAVAILABLE: rank 2 ended in the middle of the run"));
  }
  EXPECT_TRUE(std::filesystem::exists(root_ + "/killed/checkpoint-000000002.safetensors"));
  EXPECT_EQ(Finish("killed"), undisturbed);
}

#endif

}  // namespace
}  // namespace retort::student
