#include "student/loss/head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "student/model/config.h"
#include "tests/student/model/random_batch.h"
#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

// Positions, hidden states and head of a made-up batch.
struct Problem {
  Problem(int vocabulary, int hidden, int tokens, int teacher_k) : vocabulary(vocabulary), hidden(hidden) {
    ModelConfig config = UnitConfig();
    config.vocabulary = vocabulary;
    batch = RandomBatch(config, {tokens}, teacher_k, 5);
    x = Numbers(static_cast<std::size_t>(tokens) * hidden, 1);
    w = Numbers(static_cast<std::size_t>(vocabulary) * hidden, 2);
    for (std::int32_t t = 0; t < tokens; ++t) {
      if (batch.weights[t] != 0) rows.push_back(t);
      if (t % 5 == 2) batch.weights[t] *= 0.5f;
    }
  }
  struct Outcome {
    std::vector<HeadResult> results;
    std::vector<float> d_x, d_w;
  };
  Outcome Run(Isa isa, int threads = 2) const {
    Machine machine(isa, threads);
    HeadMemory memory;
    Outcome outcome = {{}, std::vector<float>(x.size(), -1.0f), std::vector<float>(w.size(), 0.25f)};
    outcome.results =
        HeadLoss(machine.compute, &memory,
                 {x.data(), w.data(), vocabulary, hidden, outcome.d_x.data(), outcome.d_w.data()}, batch,
                 rows, 0.3f, 0.125, true);
    return outcome;
  }

  int vocabulary, hidden;
  PackedBatch batch;
  std::vector<float> x, w;
  std::vector<std::int32_t> rows;
};

TEST(HeadTest, FastPathsAgreeWithPlainOverOddShapes) {
  const Problem problems[] = {
      {130, 32, 40, 5}, {1000, 64, 300, 7}, {128, 320, 9, 0}, {5, 32, 20, 3}, {4096, 96, 50, 32}};
  for (const Problem& problem : problems) {
    const Problem::Outcome want = problem.Run(Isa::kPlain);
    for (const Isa isa : SupportedIsas()) {
      if (isa == Isa::kPlain) continue;
      const Problem::Outcome got = problem.Run(isa);
      // Logits are sums of `hidden` products up to 1, and so is an error of theirs in the loss.
      const double bound = 2e-7 * problem.hidden + 2e-6;
      for (std::size_t i = 0; i < want.results.size(); ++i) {
        ASSERT_NEAR(got.results[i].loss.cross_entropy, want.results[i].loss.cross_entropy, bound);
        ASSERT_NEAR(got.results[i].loss.divergence, want.results[i].loss.divergence, bound);
        ASSERT_EQ(got.results[i].argmax, want.results[i].argmax);
      }
      ExpectClose(got.d_x, want.d_x, 0.125 * bound * 4, "head d_x");
      ExpectClose(got.d_w, want.d_w, 0.125 * bound * 16, "head d_w");
    }
  }
}

TEST(HeadTest, ThreadsDoNotChangeABit) {
  const Problem problem(3000, 64, 600, 9);  // several chunks
  const Problem::Outcome one = problem.Run(BestIsa(), 1), three = problem.Run(BestIsa(), 3);
  EXPECT_EQ(one.d_x, three.d_x);
  EXPECT_EQ(one.d_w, three.d_w);
  for (std::size_t i = 0; i < one.results.size(); ++i) {
    EXPECT_EQ(one.results[i].loss.cross_entropy, three.results[i].loss.cross_entropy);
    EXPECT_EQ(one.results[i].loss.divergence, three.results[i].loss.divergence);
  }
}

TEST(HeadTest, TokenDoesNotDependOnItsChunk) {
  Problem problem(700, 64, 600, 9);
  const Problem::Outcome all = problem.Run(BestIsa());
  const std::vector<std::int32_t> few(problem.rows.begin() + 300, problem.rows.begin() + 310);
  problem.rows = few;
  const Problem::Outcome some = problem.Run(BestIsa());
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(all.results[300 + i].loss.cross_entropy, some.results[i].loss.cross_entropy);
    EXPECT_EQ(all.results[300 + i].loss.divergence, some.results[i].loss.divergence);
    for (int j = 0; j < 64; ++j) EXPECT_EQ(all.d_x[few[i] * 64 + j], some.d_x[few[i] * 64 + j]);
  }
}

TEST(HeadTest, TeacherThatStoresEveryTokenLeavesNoTail) {
  Problem problem(5, 32, 20, 5);
  for (float& tail : problem.batch.teacher_tail_logprobs) tail = -std::numeric_limits<float>::infinity();
  const Problem::Outcome want = problem.Run(Isa::kPlain);
  for (const Isa isa : SupportedIsas()) {
    const Problem::Outcome got = problem.Run(isa);
    for (std::size_t i = 0; i < want.results.size(); ++i) {
      ASSERT_NEAR(got.results[i].loss.divergence, want.results[i].loss.divergence, 1e-5);
    }
    ExpectClose(got.d_x, want.d_x, 1e-5, "head d_x");
  }
}

TEST(HeadTest, ConfidentStudentKeepsItsTailExact) {
  // Almost all mass on the one stored token: p_tail is about 4 e^-64, far below what 1 - p could show.
  const int hidden = 32;
  Problem problem(200, hidden, 12, 1);
  std::fill(problem.x.begin(), problem.x.end(), 0.0f);
  std::fill(problem.w.begin(), problem.w.end(), 0.0f);
  for (std::int32_t t = 0; t < 12; ++t) problem.x[t * hidden] = 1;
  problem.batch.teacher_ids.assign(12, 17);
  problem.batch.teacher_logprobs.assign(12, std::log(0.5f));
  problem.batch.teacher_tail_logprobs.assign(12, std::log(0.5f));
  problem.w[17 * hidden] = 70;
  for (const Isa isa : SupportedIsas()) {
    const Problem::Outcome got = problem.Run(isa);
    // KL = ln(1/2) - 1/2 log p_17 - 1/2 log p_tail, log p_tail = ln 199 - 70. The first row has a teacher.
    EXPECT_NEAR(got.results[0].loss.divergence, std::log(0.5) - 0.5 * (std::log(199.0) - 70), 2e-5)
        << IsaName(isa);
  }
}

TEST(HeadTest, NotANumberIsNotHidden) {
  for (const Isa isa : SupportedIsas()) {
    Problem problem(300, 32, 10, 2);
    problem.x[problem.rows[3] * 32 + 5] = std::nanf("");
    const Problem::Outcome got = problem.Run(isa);
    EXPECT_TRUE(std::isnan(got.results[3].loss.cross_entropy));
    EXPECT_TRUE(std::isnan(got.d_w[0]));
    EXPECT_FALSE(std::isnan(got.results[2].loss.cross_entropy));
  }
}

}  // namespace
}  // namespace retort::student
