#include "student/ops/row_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

TEST(RowKernelsTest, ExponentialIsWithinTwoUlp) {
  for (const Isa isa : SupportedIsas()) {
    double worst = 0;
    for (float x = -87.25f; x < 88; x += 0.01171875f) {
      float value = x;
      RowKernelsOf(isa).exp_sum(&value, 1, 0.0f);
      const double want = std::exp(static_cast<double>(x));
      worst = std::max(worst, std::fabs(value - want) / want / 1.1920929e-7);
    }
    std::printf("%s: worst error of exp %.2f ulp\n", IsaName(isa), worst);
    EXPECT_LE(worst, 2);
  }
}

TEST(RowKernelsTest, ExponentialsOfTheExtremes) {
  for (const Isa isa : SupportedIsas()) {
    float x[3] = {-std::numeric_limits<float>::infinity(), -200, 0};
    EXPECT_EQ(RowKernelsOf(isa).exp_sum(x, 3, 0.0f), 1.0f);
    EXPECT_EQ(x[0], 0.0f);
    EXPECT_EQ(x[1], 0.0f);
    float nan = std::nanf("");
    EXPECT_TRUE(std::isnan(RowKernelsOf(isa).exp_sum(&nan, 1, 0.0f)));
  }
}

TEST(RowKernelsTest, MaximumOfOddLengths) {
  for (const Isa isa : SupportedIsas()) {
    EXPECT_EQ(RowKernelsOf(isa).maximum(nullptr, 0), -std::numeric_limits<float>::infinity());
    for (const int n : {1, 15, 16, 17, 100}) {
      auto x = Numbers(n, 1);
      x[n / 2] = 3;
      EXPECT_EQ(RowKernelsOf(isa).maximum(x.data(), n), 3);
      for (float& value : x) value -= 10;
      EXPECT_EQ(RowKernelsOf(isa).maximum(x.data(), n), -7);
    }
  }
}

TEST(RowKernelsTest, VectorWidthDoesNotChangeABit) {
  if (!IsaSupported(Isa::kAvx512)) GTEST_SKIP() << "this processor has no AVX-512";
  const RowKernels &a = RowKernelsOf(Isa::kAvx2), &b = RowKernelsOf(Isa::kAvx512);
  for (const int n : {1, 16, 33, 257}) {
    const auto x = Numbers(n, 1), w = Numbers(n, 2), g = Numbers(n, 3);
    EXPECT_EQ(a.dot(x.data(), w.data(), n), b.dot(x.data(), w.data(), n));
    auto e1 = x, e2 = x;
    EXPECT_EQ(a.exp_sum(e1.data(), n, 0.5f), b.exp_sum(e2.data(), n, 0.5f));
    EXPECT_EQ(e1, e2);
    std::vector<float> y1(n), y2(n), u1(n), u2(n);
    EXPECT_EQ(a.rms_norm(x.data(), w.data(), n, 1e-6f, y1.data()),
              b.rms_norm(x.data(), w.data(), n, 1e-6f, y2.data()));
    EXPECT_EQ(y1, y2);
    EXPECT_EQ(a.swiglu_backward(x.data(), w.data(), g.data(), 0.3f, n, y1.data(), u1.data()),
              b.swiglu_backward(x.data(), w.data(), g.data(), 0.3f, n, y2.data(), u2.data()));
    EXPECT_EQ(y1, y2);
    EXPECT_EQ(u1, u2);
    auto t1 = x, t2 = x, m1 = w, m2 = w;
    std::vector<float> v1(n, 0.2f), v2(n, 0.2f);
    const AdamWCoefficients c = {0.9f, 0.95f, 0.7f, 1e-3f, 1.5f, 1e-8f, 1e-4f};
    a.adamw(c, g.data(), n, t1.data(), m1.data(), v1.data());
    b.adamw(c, g.data(), n, t2.data(), m2.data(), v2.data());
    EXPECT_EQ(t1, t2);
    EXPECT_EQ(m1, m2);
    EXPECT_EQ(v1, v2);
  }
}

}  // namespace
}  // namespace retort::student
