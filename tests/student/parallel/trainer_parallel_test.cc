// Whole runs of several processes: checkpoints, a lost rank, another number of ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "student/parallel/layout.h"
#include "tests/student/parallel/rank_processes.h"

namespace retort::student {
namespace {

using ::testing::HasSubstr;

class TrainerParallelTest : public ::testing::Test {
 protected:
  TrainerParallelTest() {
    char path[] = "/tmp/retort-ranks-XXXXXX";
    root_ = mkdtemp(path);
  }
  ~TrainerParallelTest() override { std::filesystem::remove_all(root_); }

  std::vector<RankEnd> Launch(const ParallelLayout& ranks, const std::string& run,
                              const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {FreshName(), std::to_string(ranks.data),
                                          std::to_string(ranks.experts), root_ + "/" + run};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RankProcesses(TRAINER_RANK, arguments, ranks.world()).Wait();
  }

  // The line with the digests of a run that must finish.
  std::string Finish(const ParallelLayout& ranks, const std::string& run) {
    const std::vector<RankEnd> ends = Launch(ranks, run);
    for (const RankEnd& end : ends) EXPECT_EQ(end.exit_code, 0) << end.output;
    const std::string& text = ends[0].output;
    const size_t at = text.find("digest ");
    EXPECT_NE(at, std::string::npos) << text;
    return at == std::string::npos ? "" : text.substr(at);
  }

  std::string root_;
};

std::map<int, double> LossesOf(const std::string& output) {
  std::map<int, double> losses;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    int step = 0;
    double loss = 0;
    if (std::sscanf(line.c_str(), "step %d loss %la", &step, &loss) == 2) losses[step] = loss;
  }
  return losses;
}

TEST_F(TrainerParallelTest, KilledRankEndsAllAndARelaunchReachesTheUndisturbedDigest) {
  const ParallelLayout ranks = {2, 2};
  const std::string undisturbed = Finish(ranks, "undisturbed");
  for (const char* victim : {"3", "0"}) {
    const std::string run = std::string("killed") + victim;
    const auto begun = std::chrono::steady_clock::now();
    const std::vector<RankEnd> ends = Launch(ranks, run, {victim, "6"});
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(30));
    for (int rank = 0; rank < 4; ++rank) {
      if (rank == atoi(victim)) {
        EXPECT_EQ(ends[rank].signal, 9);
        continue;
      }
      EXPECT_EQ(ends[rank].exit_code, 2);
      EXPECT_THAT(ends[rank].output, HasSubstr(std::string("ended: UNAVAILABLE: rank ") + victim +
                                               " ended in the middle of the run"));
    }
    EXPECT_TRUE(std::filesystem::exists(root_ + "/" + run + "/checkpoint-000000003.safetensors"));
    EXPECT_EQ(Finish(ranks, run), undisturbed);
  }
}

TEST_F(TrainerParallelTest, CheckpointGoesOnWithOtherRanks) {
  const std::vector<RankEnd> one = Launch({1, 1}, "one");
  const std::map<int, double> wanted = LossesOf(one[0].output);
  ASSERT_EQ(wanted.size(), 8u);
  Launch({2, 2}, "other", {"1", "6"});
  const std::vector<RankEnd> rest = Launch({1, 1}, "other");  // from the checkpoint of step 3
  ASSERT_EQ(rest[0].exit_code, 0) << rest[0].output;
  const std::map<int, double> losses = LossesOf(rest[0].output);
  EXPECT_EQ(losses.begin()->first, 4);
  EXPECT_EQ(losses.size(), 5u);
  for (const auto& [step, loss] : losses) {
    EXPECT_NEAR(loss, wanted.at(step), loss * step * 256 * 0x1p-24) << step;  // as learner_test derives it
  }
}

TEST_F(TrainerParallelTest, SameLayoutSameDigestOtherLayoutOtherTranscript) {
  const std::string first = Finish({1, 2}, "a");
  EXPECT_EQ(Finish({1, 2}, "b"), first);
  const std::string alone = Finish({1, 1}, "c");
  EXPECT_NE(alone.substr(alone.find("transcript")), first.substr(first.find("transcript")));
}

TEST_F(TrainerParallelTest, OtherManifestsAreRefused) {
  for (const RankEnd& end : Launch({2, 1}, "differ", {"-1", "-1", "5"})) {  // the seed is 5 + rank
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(end.output, HasSubstr("not joined: rank 1 is 'manifest "));
    EXPECT_THAT(end.output, HasSubstr("wanted the same on all ranks"));
  }
}

TEST_F(TrainerParallelTest, ErrorOfOneRankIsGivenToAll) {
  // Rank 0 cannot make its folder, and rank 1 hears of it.
  RankProcesses ranks(TRAINER_RANK, {FreshName(), "2", "1", "/dev/null/nowhere"}, 2);
  for (const RankEnd& end : ranks.Wait()) {
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(end.output, HasSubstr("/dev/null/nowhere"));
  }
}

TEST_F(TrainerParallelTest, LayoutThatDoesNotFitIsRefused) {
  for (const RankEnd& end : Launch({3, 1}, "rows")) {
    EXPECT_EQ(end.exit_code, 2);
    EXPECT_THAT(end.output, HasSubstr("rows of a step: 4; wanted a multiple of the 3 processes"));
  }
}

}  // namespace
}  // namespace retort::student
