// The same training on one process and on several: real processes, shared memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

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

constexpr int kSteps = 6;

struct Outcome {
  std::vector<double> losses, norms, predicted;  // the last: sums of multi-token prediction
  std::string text;                              // of rank 0
  std::string state;                             // the line of the final state
};

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
  std::vector<std::string> arguments = {FreshName(), std::to_string(ranks.data),
                                        std::to_string(ranks.experts), std::to_string(steps),
                                        std::to_string(modules)};
  if (!folder.empty()) arguments.push_back(folder);
  RankProcesses processes(LEARNER_RANK, arguments, ranks.world());
  const std::vector<RankEnd> ends = processes.Wait();
  Outcome outcome;
  outcome.text = ends[0].output;
  for (const RankEnd& end : ends) {
    EXPECT_EQ(end.exit_code, 0) << end.output;
    // Every rank has the same sums; rank 0 alone has the whole state.
    EXPECT_EQ(end.output.substr(0, end.output.find("state")),
              outcome.text.substr(0, outcome.text.find("state")));
  }
  std::istringstream lines(outcome.text);
  for (std::string line; std::getline(lines, line);) {
    long long step = 0, tokens = 0, sent = 0;
    double loss = 0, norm = 0, predicted = 0;
    if (std::sscanf(line.c_str(), "step %lld loss %la norm %la predicted %la tokens %lld sent %lld", &step,
                    &loss, &norm, &predicted, &tokens, &sent) == 6) {
      outcome.losses.push_back(loss);
      outcome.norms.push_back(norm);
      outcome.predicted.push_back(predicted);
      EXPECT_EQ(tokens, 192);
      EXPECT_EQ(sent, 192 * 2 * (2 + modules));  // two experts in each of two layers, and of each module
    } else if (line.starts_with("state")) {
      outcome.state = line;
    }
  }
  return outcome;
}

// The same weights give the same loss up to the order of a sum in fp64. Gradients are sums over the n tokens
// of a step in another order, so each is off by at most n * 2^-24 of the sum of its terms' sizes; each step
// adds one such difference to the weights.
double Bound(double value, std::size_t step) {
  constexpr double kTokens = 192;
  return std::abs(value) * (1e-14 + static_cast<double>(step) * kTokens * 0x1p-24);
}

void ExpectClose(const Outcome& one, const Outcome& several, std::size_t from = 0) {
  double worst = 0;
  ASSERT_EQ(several.losses.size(), one.losses.size() - from);
  for (std::size_t i = 0; i < several.losses.size(); ++i) {
    const double difference = std::abs(several.losses[i] - one.losses[i + from]);
    EXPECT_TRUE(difference <= Bound(one.losses[i + from], i + from))
        << "step " << i + from << ": " << difference;
    EXPECT_TRUE(std::abs(several.norms[i] - one.norms[i + from]) <= Bound(one.norms[i + from], i + from + 1));
    EXPECT_TRUE(std::abs(several.predicted[i] - one.predicted[i + from]) <=
                Bound(one.predicted[i + from], i + from));
    worst = std::max(worst, difference / one.losses[i + from]);
  }
  std::printf("worst relative difference of a loss: %.3g\n", worst);
}

class LearnerTest : public ::testing::TestWithParam<ParallelLayout> {};

TEST_P(LearnerTest, LossesAreThoseOfOneProcess) {
  const Outcome one = Train({1, 1}, kSteps);
  ASSERT_EQ(one.losses.size(), std::size_t{kSteps});
  EXPECT_LT(one.losses.back(), one.losses.front());  // it learns
  ExpectClose(one, Train(GetParam(), kSteps));
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
  ExpectClose(one, several);
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
    EXPECT_NEAR(next.losses[0], one.losses[step], Bound(one.losses[step], step));
  }
}

}  // namespace
}  // namespace retort::student
