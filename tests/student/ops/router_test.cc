#include "student/ops/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

struct Routed {
  std::vector<double> scores, weights;
  std::vector<std::int32_t> chosen;
};
Routed RouteOne(const RouterShape& shape, const std::vector<double>& logits,
                const std::vector<double>& bias) {
  Routed result = {std::vector<double>(shape.experts), std::vector<double>(shape.per_token),
                   std::vector<std::int32_t>(shape.per_token)};
  RouteRow(shape, logits.data(), bias.data(), result.scores.data(), result.chosen.data(),
           result.weights.data());
  return result;
}

TEST(RouterTest, WeightsComeFromUnbiasedScores) {
  // sigmoid(0) = 1/2 everywhere; the bias alone chooses experts 1 and 3, and the weights are equal all the
  // same.
  const RouterShape shape = {4, 2, 1, 1, 2.5f, true};
  const Routed routed = RouteOne(shape, {0, 0, 0, 0}, {0, 0.1, -0.1, 5});
  EXPECT_EQ(routed.chosen, (std::vector<std::int32_t>{1, 3}));
  EXPECT_DOUBLE_EQ(routed.weights[0], 1.25);
  EXPECT_DOUBLE_EQ(routed.weights[1], 1.25);
}

TEST(RouterTest, LowerIndexWinsTies) {
  const Routed experts = RouteOne({6, 3, 1, 1, 1, true}, {0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0});
  EXPECT_EQ(experts.chosen, (std::vector<std::int32_t>{0, 1, 2}));
  // Groups {0,1} {2,3} {4,5}: the last two tie and one of them may stay.
  const Routed groups = RouteOne({6, 2, 3, 1, 1, true}, {0, 0, 0, 0, 0, 0}, {-1, -1, 0, 0, 0, 0});
  EXPECT_EQ(groups.chosen, (std::vector<std::int32_t>{2, 3}));
}

TEST(RouterTest, OnlyTheBestGroupsAreSearched) {
  // Expert 0 is the best of all, but its group's two best add up to less than those of groups 1 and 2.
  const Routed routed = RouteOne({6, 3, 3, 2, 1, true}, {3, -5, 1, 1, 1, 0.9}, {0, 0, 0, 0, 0, 0});
  EXPECT_EQ(routed.chosen, (std::vector<std::int32_t>{2, 3, 4}));
}

TEST(RouterTest, NegativeChoicesOfKeptGroupsBeatMaskedOnes) {
  // Every biased score is negative. Masking with 0 instead of minus infinity would let experts 4 and 5 win.
  const Routed routed = RouteOne({6, 2, 3, 1, 1, true}, {0, 0, 0, 0, 0, 0}, {-3, -3, -2, -2.5, -4, -4});
  EXPECT_EQ(routed.chosen, (std::vector<std::int32_t>{2, 3}));
}

TEST(RouterTest, SelectionIgnoresAConstantInTheBias) {
  const RouterShape shape = {8, 3, 4, 2, 1, true};
  for (unsigned seed = 0; seed < 50; ++seed) {
    const auto logits = Numbers<double>(8, seed);
    auto bias = Numbers<double>(8, seed + 100);
    const Routed before = RouteOne(shape, logits, bias);
    for (double& b : bias) b += 4;
    EXPECT_EQ(RouteOne(shape, logits, bias).chosen, before.chosen);
  }
}

TEST(RouterTest, GradientsMatchFiniteDifferences) {
  for (const bool normalise : {true, false}) {
    const RouterShape shape = {6, 3, 3, 2, 2.5f, normalise};
    std::vector<double> logits = Numbers<double>(6, 4), upstream = Numbers<double>(3, 5), d_logits(6);
    const std::vector<double> bias = {0, 0.2, 0, 0, 0.1, 0};
    const Routed routed = RouteOne(shape, logits, bias);
    RouteRowBackward(shape, routed.scores.data(), routed.chosen.data(), upstream.data(), d_logits.data());
    ExpectGradient([&] { return Dot(RouteOne(shape, logits, bias).weights, upstream); }, &logits, d_logits,
                   "d_logits");
  }
}

TEST(RouterTest, BalanceLossOfEvenRoutingIsOne) {
  // Two tokens, two experts, one each: f = (1, 1), P = (1/2, 1/2) by symmetry.
  const RouterShape shape = {2, 1, 1, 1, 1, true};
  const std::vector<float> scores = {0.8f, 0.2f, 0.2f, 0.8f};
  EXPECT_NEAR(BalanceLoss(shape, scores.data(), 2, 0, nullptr), 1.0, 1e-7);
  // Both to expert 0: f = (2, 0), P_0 = 0.8.
  const std::vector<float> uneven = {0.8f, 0.2f, 0.8f, 0.2f};
  EXPECT_NEAR(BalanceLoss(shape, uneven.data(), 2, 0, nullptr), 1.6, 1e-7);
}

TEST(RouterTest, BalanceGradientMatchesFiniteDifferences) {
  // f is constant under differentiation, so the differences must not change any top-K set: they do not at
  // this step.
  const RouterShape shape = {5, 2, 1, 1, 1, true};
  constexpr int tokens = 4;
  std::vector<double> logits(tokens * 5);
  for (std::size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<double>(i * 7 % 20) * 0.15 - 1.5;  // all apart
  const auto loss_at = [&](std::size_t i, double step) {
    std::vector<float> scores(logits.size());
    for (std::size_t j = 0; j < logits.size(); ++j) {
      scores[j] = static_cast<float>(1 / (1 + std::exp(-logits[j] - (i == j ? step : 0))));
    }
    return BalanceLoss(shape, scores.data(), tokens, 0, nullptr);
  };
  std::vector<float> scores(logits.size()), d_logits(logits.size(), 1.0f);
  for (std::size_t j = 0; j < logits.size(); ++j)
    scores[j] = static_cast<float>(1 / (1 + std::exp(-logits[j])));
  BalanceLoss(shape, scores.data(), tokens, 3.0, d_logits.data());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // Scores are fp32: rounding of 3e-8 over a step of 2e-2.
    const double difference = (loss_at(i, 1e-2) - loss_at(i, -1e-2)) / 2e-2;
    EXPECT_NEAR(d_logits[i], 1.0 + 3 * difference, 5e-5) << i;
  }
}

}  // namespace
}  // namespace retort::student
