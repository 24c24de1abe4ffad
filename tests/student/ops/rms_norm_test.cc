#include "student/ops/rms_norm.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

TEST(RmsNormTest, HandWorked) {
  // mean(x^2) = (9 + 16) / 2 = 12.5; r = 1 / sqrt(12.5) = 0.282842712...
  const std::vector<float> x = {3, 4}, w = {1, 2};
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    std::vector<float> y(2), r(1);
    RmsNorm(machine.compute, x.data(), 2, w.data(), 1, 2, 0.0f, y.data(), 2, r.data());
    EXPECT_FLOAT_EQ(r[0], 0.28284271f);
    EXPECT_FLOAT_EQ(y[0], 0.84852814f);
    EXPECT_FLOAT_EQ(y[1], 2.2627417f);
  }
}

TEST(RmsNormTest, GradientsMatchFiniteDifferences) {
  constexpr int n = 7;
  std::vector<double> x = Numbers<double>(n, 1), w = Numbers<double>(n, 2), weights = Numbers<double>(n, 3),
                      y(n);
  const auto loss = [&] {
    plain::RmsNormRow(x.data(), w.data(), n, 1e-6, y.data());
    return Dot(y, weights);
  };
  const double r = plain::RmsNormRow(x.data(), w.data(), n, 1e-6, y.data());
  std::vector<double> dx(n, 0.0), dw(n, 0.0);
  plain::RmsNormRowBackward(x.data(), w.data(), r, weights.data(), n, dx.data());
  plain::RmsNormRowGain(x.data(), r, weights.data(), n, dw.data());
  ExpectGradient(loss, &x, dx, "dx");
  ExpectGradient(loss, &w, dw, "dw");
}

TEST(RmsNormTest, FastPathsAgreeWithPlainOverOddShapes) {
  for (const int n : {1, 15, 16, 17, 96, 257}) {
    constexpr int rows = 130;
    const int stride = n + 3;
    const auto x = Numbers(rows * stride, 1), w = Numbers(n, 2), dy = Numbers(rows * stride, 3);
    std::vector<std::vector<float>> y, dx, dw;
    for (const Isa isa : SupportedIsas()) {
      Machine machine(isa);
      y.emplace_back(rows * stride, 0.0f), dx.emplace_back(rows * stride, 0.5f), dw.emplace_back(n, 0.25f);
      std::vector<float> r(rows);
      RmsNorm(machine.compute, x.data(), stride, w.data(), rows, n, 1e-6f, y.back().data(), stride, r.data());
      RmsNormBackward(machine.compute, x.data(), stride, w.data(), r.data(), dy.data(), stride, rows, n,
                      dx.back().data(), stride, dw.back().data());
    }
    // r can reach 1 / |x| for one column; sums of n or of 130 terms of a few units each.
    for (std::size_t i = 1; i < y.size(); ++i) {
      ExpectClose(y[i], y[0], 3e-6, "rms_norm y");
      ExpectClose(dx[i], dx[0], n == 1 ? 2e-3 : 2e-5, "rms_norm dx");
      ExpectClose(dw[i], dw[0], 130 * 3e-6, "rms_norm dw");
    }
  }
}

}  // namespace
}  // namespace retort::student
