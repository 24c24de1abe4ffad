#include "student/loss/mixed_loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

TEST(MixedLossTest, HandWorked) {
  // Four tokens, equal logits: p = 1/4 each. The teacher stores token 2 at 1/2; the tail's half faces 3/4.
  const std::vector<double> z = {1, 1, 1, 1};
  const std::int32_t id = 2;
  const float logprob = std::log(0.5f);
  const TeacherRow teacher = {1, &id, &logprob, std::log(0.5f)};
  std::vector<double> d(4);
  const TokenLoss loss = plain::MixedLossRow(z.data(), 4, 0, teacher, 0.25, 1.0, d.data());
  EXPECT_NEAR(loss.cross_entropy, std::log(4.0), 1e-12);
  EXPECT_NEAR(loss.divergence, 0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75), 1e-7);
  EXPECT_NEAR(loss.Mixed(0.25, true), 0.25 * loss.cross_entropy + 0.75 * loss.divergence, 1e-12);
  // Stored: 1/4 - 3/4 * 1/2. Others: 1/4 - 3/4 * 1/2 * (1/4) / (3/4) = 1/8; the target 1/4 less.
  EXPECT_NEAR(d[2], -0.125, 1e-7);
  EXPECT_NEAR(d[1], 0.125, 1e-7);
  EXPECT_NEAR(d[3], 0.125, 1e-7);
  EXPECT_NEAR(d[0], -0.125, 1e-7);
}

TEST(MixedLossTest, PerfectStudentDoesNotDiverge) {
  const std::vector<double> z = {2, 1, 0, -1, -2};
  double sum = 0;
  for (const double value : z) sum += std::exp(value);
  const std::vector<std::int32_t> ids = {0, 1};
  const std::vector<float> logprobs = {static_cast<float>(2 - std::log(sum)),
                                       static_cast<float>(1 - std::log(sum))};
  const float tail =
      static_cast<float>(std::log(std::exp(0.0) + std::exp(-1.0) + std::exp(-2.0)) - std::log(sum));
  std::vector<double> d(5);
  const TokenLoss loss =
      plain::MixedLossRow(z.data(), 5, 1, {2, ids.data(), logprobs.data(), tail}, 0.0, 1.0, d.data());
  EXPECT_NEAR(loss.divergence, 0, 1e-6);
  for (const double value : d) EXPECT_NEAR(value, 0, 1e-7);
}

TEST(MixedLossTest, GradientsMatchFiniteDifferences) {
  // Masses that are exact in fp32, so that they add up to one.
  const std::vector<std::int32_t> ids = {3, 0, 5};
  const std::vector<float> logprobs = {std::log(0.5f), std::log(0.25f), std::log(0.125f)};
  const struct {
    TeacherRow teacher;
    std::int32_t target;
  } cases[] = {{{3, ids.data(), logprobs.data(), std::log(0.125f)}, 3},
               {{3, ids.data(), logprobs.data(), std::log(0.125f)}, 6},
               {{}, 2}};
  for (const auto& c : cases) {
    for (const double a : {0.0, 0.3, 1.0}) {
      std::vector<double> z = Numbers<double>(8, 3), d(8);
      for (double& value : z) value *= 3;
      plain::MixedLossRow(z.data(), 8, c.target, c.teacher, a, 1.0, d.data());
      const auto loss = [&] {
        return plain::MixedLossRow<double>(z.data(), 8, c.target, c.teacher, a, 1.0, nullptr)
            .Mixed(a, c.teacher.count > 0);
      };
      for (int j = 0; j < 8; ++j) {
        constexpr double kStep = 1e-5;
        const double kept = z[j];
        z[j] = kept + kStep;
        const double above = loss();
        z[j] = kept - kStep;
        const double below = loss();
        z[j] = kept;
        // The stored log-probabilities are fp32: their masses miss one by up to 1e-7, which the gradient's
        // form leaves out.
        ASSERT_NEAR(d[j], (above - below) / (2 * kStep), 2e-7) << j << " target " << c.target << " a " << a;
      }
    }
  }
}

TEST(MixedLossTest, EmptyTailOfTheTeacherIsExact) {
  const std::vector<std::int32_t> ids = {0, 1};
  const std::vector<float> logprobs = {std::log(0.75f), std::log(0.25f)};
  const std::vector<double> z = {0, 0, 0, 0};
  const TeacherRow teacher = {2, ids.data(), logprobs.data(), -std::numeric_limits<float>::infinity()};
  std::vector<double> d(4);
  const TokenLoss loss = plain::MixedLossRow(z.data(), 4, 0, teacher, 0.0, 1.0, d.data());
  EXPECT_NEAR(loss.divergence, 0.75 * std::log(3.0), 1e-6);
  EXPECT_NEAR(d[0], 0.25 - 0.75, 1e-7);
  EXPECT_NEAR(d[2], 0.25, 1e-7);
}

}  // namespace
}  // namespace retort::student
