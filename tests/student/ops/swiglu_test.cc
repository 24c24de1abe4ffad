#include "student/ops/swiglu.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

TEST(SwigluTest, HandWorked) {
  // silu(0) = 0; silu(1) = 1 / (1 + e^-1) = 0.7310586; times up and scale 2.
  const std::vector<float> gate_up = {0, 1, 5, 3}, scale = {2};
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    std::vector<float> h(2);
    Swiglu(machine.compute, gate_up.data(), scale.data(), 1, 2, h.data());
    EXPECT_EQ(h[0], 0);
    EXPECT_FLOAT_EQ(h[1], 4.3863516f);
  }
}

TEST(SwigluTest, GradientsMatchFiniteDifferences) {
  constexpr int n = 6;
  std::vector<double> gate = Numbers<double>(n, 1), up = Numbers<double>(n, 2),
                      weights = Numbers<double>(n, 3), h(n);
  std::vector<double> scale = {0.7}, d_gate(n), d_up(n);
  for (double& g : gate) g *= 3;
  const auto loss = [&] {
    plain::SwigluRow(gate.data(), up.data(), scale[0], n, h.data());
    return Dot(h, weights);
  };
  const double d_scale = plain::SwigluRowBackward(gate.data(), up.data(), weights.data(), scale[0], n,
                                                  d_gate.data(), d_up.data());
  ExpectGradient(loss, &gate, d_gate, "d_gate");
  ExpectGradient(loss, &up, d_up, "d_up");
  ExpectGradient(loss, &scale, {d_scale}, "d_scale");
}

TEST(SwigluTest, FastPathsAgreeWithPlainOverOddShapes) {
  for (const int n : {1, 16, 31, 128}) {
    constexpr int rows = 70;
    auto gate_up = Numbers(rows * 2 * n, 1);
    for (float& value : gate_up) value *= 8;
    gate_up[0] = 100, gate_up[1] = -100;  // both ends of the sigmoid
    const auto scale = Numbers(rows, 2), dh = Numbers(rows * n, 3);
    std::vector<std::vector<float>> h, d, s;
    for (const Isa isa : SupportedIsas()) {
      Machine machine(isa);
      h.emplace_back(rows * n), d.emplace_back(rows * 2 * n), s.emplace_back(rows);
      Swiglu(machine.compute, gate_up.data(), scale.data(), rows, n, h.back().data());
      SwigluBackward(machine.compute, gate_up.data(), scale.data(), dh.data(), rows, n, d.back().data(),
                     s.back().data());
    }
    for (std::size_t i = 1; i < h.size(); ++i) {
      ExpectClose(h[i], h[0], 800 * 3e-7, "swiglu h");
      ExpectClose(d[i], d[0], 800 * 3e-7, "swiglu d_gate_up");
      ExpectClose(s[i], s[0], n * 64 * 6e-7 + 1e-4, "swiglu d_scale");
    }
  }
}

}  // namespace
}  // namespace retort::student
