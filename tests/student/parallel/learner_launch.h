// Launches of learner_rank and what came of them, for comparison.
#ifndef TESTS_STUDENT_PARALLEL_LEARNER_LAUNCH_H_
#define TESTS_STUDENT_PARALLEL_LEARNER_LAUNCH_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "student/parallel/layout.h"
#include "tests/student/parallel/rank_processes.h"

namespace retort::student {

struct Outcome {
  std::vector<double> losses, norms, predicted;  // the last: sums of multi-token prediction
  std::string text;                              // of rank 0
  std::string state;                             // the line of the final state
};

// All ranks must finish. tokens: of a step.
inline Outcome TrainRanks(const std::string& program, int tokens, const ParallelLayout& ranks, int steps,
                          const std::string& folder = "", int modules = 0) {
  std::vector<std::string> arguments = {FreshName(), std::to_string(ranks.data),
                                        std::to_string(ranks.experts), std::to_string(steps),
                                        std::to_string(modules)};
  if (!folder.empty()) arguments.push_back(folder);
  RankProcesses processes(program, arguments, ranks.world());
  const std::vector<RankEnd> ends = processes.Wait(std::chrono::seconds(240));
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
    long long step = 0, forwarded = 0, sent = 0;
    double loss = 0, norm = 0, predicted = 0;
    if (std::sscanf(line.c_str(), "step %lld loss %la norm %la predicted %la tokens %lld sent %lld", &step,
                    &loss, &norm, &predicted, &forwarded, &sent) == 6) {
      outcome.losses.push_back(loss);
      outcome.norms.push_back(norm);
      outcome.predicted.push_back(predicted);
      EXPECT_EQ(forwarded, tokens);
      EXPECT_EQ(sent, tokens * 2 * (2 + modules));  // two experts in each of two layers, and of each module
    } else if (line.starts_with("state")) {
      outcome.state = line;
    }
  }
  return outcome;
}

// The same weights give the same loss up to the order of a sum in fp64. Gradients are sums over the n tokens
// of a step in another order, so each is off by at most n * 2^-24 of the sum of its terms' sizes; each step
// adds one such difference to the weights.
inline double RankBound(double value, std::size_t step, int tokens) {
  return std::abs(value) * (1e-14 + static_cast<double>(step) * tokens * 0x1p-24);
}

inline void ExpectClose(const Outcome& one, const Outcome& several, int tokens) {
  double worst = 0;
  ASSERT_EQ(several.losses.size(), one.losses.size());
  for (std::size_t i = 0; i < several.losses.size(); ++i) {
    const double difference = std::abs(several.losses[i] - one.losses[i]);
    EXPECT_TRUE(difference <= RankBound(one.losses[i], i, tokens)) << "step " << i << ": " << difference;
    EXPECT_TRUE(std::abs(several.norms[i] - one.norms[i]) <= RankBound(one.norms[i], i + 1, tokens));
    EXPECT_TRUE(std::abs(several.predicted[i] - one.predicted[i]) <= RankBound(one.predicted[i], i, tokens));
    worst = std::max(worst, difference / one.losses[i]);
  }
  std::printf("worst relative difference of a loss: %.3g\n", worst);
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_PARALLEL_LEARNER_LAUNCH_H_
