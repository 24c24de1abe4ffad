// The same training on one process and on several: real processes, shared memory.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "tests/student/parallel/learner_launch.h"

namespace retort::student {
namespace {

constexpr int kSteps = 6, kTokens = 192;

class Folder {
 public:
  Folder() {
    char path[] = "/tmp/retort-learner-XXXXXX";
    path_ = mkdtemp(path);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Outcome Train(const ParallelLayout& ranks, int steps, const std::string& folder = "", int modules = 0) {
  return TrainRanks(LEARNER_RANK, kTokens, ranks, steps, folder, modules);
}

class LearnerTest : public ::testing::TestWithParam<ParallelLayout> {};

TEST_P(LearnerTest, LossesAreThoseOfOneProcess) {
  const Outcome one = Train({1, 1}, kSteps);
  ASSERT_EQ(one.losses.size(), std::size_t{kSteps});
  EXPECT_LT(one.losses.back(), one.losses.front());  // it learns
  ExpectClose(one, Train(GetParam(), kSteps), kTokens);
}

TEST_P(LearnerTest, TwiceTheSameBits) {
  EXPECT_EQ(Train(GetParam(), kSteps).text, Train(GetParam(), kSteps).text);
}

TEST_P(LearnerTest, StateHandedOverGoesOnWithTheSameBits) {
  const Outcome undisturbed = Train(GetParam(), kSteps);
  const Folder folder;
  Train(GetParam(), kSteps / 2, folder.path());
  const Outcome resumed = Train(GetParam(), kSteps, folder.path());
  EXPECT_EQ(resumed.losses.size(), std::size_t{kSteps - kSteps / 2});
  EXPECT_EQ(resumed.state, undisturbed.state);
}

TEST_P(LearnerTest, MultiTokenPredictionIsThatOfOneProcess) {
  const Outcome one = Train({1, 1}, kSteps, "", 2), several = Train(GetParam(), kSteps, "", 2);
  ASSERT_EQ(one.predicted.size(), std::size_t{kSteps});
  EXPECT_LT(one.predicted.back(), one.predicted.front());
  ExpectClose(one, several, kTokens);
  EXPECT_EQ(several.text, Train(GetParam(), kSteps, "", 2).text);
}

INSTANTIATE_TEST_SUITE_P(Layouts, LearnerTest,
                         ::testing::Values(ParallelLayout{2, 1}, ParallelLayout{1, 2}, ParallelLayout{4, 1},
                                           ParallelLayout{2, 2}, ParallelLayout{1, 4}));

TEST(LearnerStateTest, FitsEveryNumberOfRanks) {
  const Outcome one = Train({1, 1}, kSteps);
  const Folder folder;
  int steps = 0;
  for (const ParallelLayout& ranks : {ParallelLayout{2, 2}, ParallelLayout{1, 1}, ParallelLayout{1, 4},
                                      ParallelLayout{4, 1}, ParallelLayout{1, 2}, ParallelLayout{2, 1}}) {
    const Outcome next = Train(ranks, ++steps, folder.path());
    ASSERT_EQ(next.losses.size(), 1u);
    const std::size_t step = static_cast<std::size_t>(steps) - 1;
    EXPECT_NEAR(next.losses[0], one.losses[step], RankBound(one.losses[step], step, kTokens));
  }
}

}  // namespace
}  // namespace retort::student
