#include "student/ops/rms_norm.h"
#include "student/ops/rope.h"
#include "student/ops/swiglu.h"
#include "tests/student/device_ops/table.h"

namespace retort::student {
namespace {

// Roundings of one term besides those of the sum: exp, division, square root and a few products.
constexpr double kRoundings = 16;
constexpr double kEpsilon = 1e-6;

struct NormShape {
  int rows, n, gap;  // gap: values between rows
};
constexpr NormShape kNormShapes[] = {{1, 1, 0},   {3, 7, 2},    {65, 33, 0}, {64, 128, 0},
                                     {5, 576, 4}, {130, 12, 0}, {2, 2050, 0}};

std::string Describe(const NormShape& shape) {
  return std::to_string(shape.rows) + " x " + std::to_string(shape.n) + " gap " + std::to_string(shape.gap);
}

template <typename X, typename Y>
void RmsNormCases(Table* table) {
  for (const NormShape& shape : table->Of(kNormShapes)) {
    table->Begin("RmsNorm", std::string(NameOf<X>()) + " to " + NameOf<Y>(), Describe(shape));
    const int n = shape.n, stride = n + shape.gap;
    const auto x = Numbers<X>(shape.rows * stride, 1, 3);
    const auto w = Numbers<float>(n, 2);
    const auto exact_x = Doubles(x), exact_w = Doubles(w);
    Expected y, r;
    std::vector<double> row(n);
    for (int t = 0; t < shape.rows; ++t) {
      const double factor = plain::RmsNormRow(&exact_x[t * stride], exact_w.data(), n,
                                              double{static_cast<float>(kEpsilon)}, row.data());
      r.Add<float>(factor, n + kRoundings, factor);
      for (const double value : row) y.Add<Y>(value, n + kRoundings, std::fabs(value));
    }
    const auto got = table->Twice([&] {
      DeviceArray<X> device_x(x);
      DeviceArray<float> device_w(w), device_r(shape.rows);
      DeviceArray<Y> device_y(shape.rows * n);
      RmsNorm(TestStream(), device_x.data(), stride, device_w.data(), shape.rows, n,
              static_cast<float>(kEpsilon), device_y.data(), n, device_r.data());
      return Outputs{device_y.Doubles(), device_r.Doubles()};
    });
    table->Compare("y", got[0], y);
    table->Compare("r", got[1], r);
  }
}

template <typename X, typename Dy, typename Dx>
void RmsNormBackwardCases(Table* table, bool accumulate) {
  for (const NormShape& shape : table->Of(kNormShapes)) {
    table->Begin("RmsNormBackward", std::string(NameOf<X>()) + ", " + NameOf<Dy>() + " to " + NameOf<Dx>(),
                 Describe(shape));
    const int n = shape.n, stride = n + shape.gap, rows = shape.rows;
    const auto x = Numbers<X>(rows * stride, 1, 3);
    const auto w = Numbers<float>(n, 2), dw_before = Numbers<float>(n, 3);
    const auto dy = Numbers<Dy>(rows * n, 4);
    const auto dx_before = Numbers<Dx>(rows * stride, 5);
    std::vector<float> r(rows);
    const auto exact_x = Doubles(x), exact_w = Doubles(w), exact_dy = Doubles(dy);
    Expected dx, dw;
    std::vector<double> row(n), gain(n, 0.0), gain_magnitude(n, 0.0);
    for (int t = 0; t < rows; ++t) {
      const double* const own = &exact_x[t * stride];
      const double* const gradient = &exact_dy[t * n];
      r[t] = static_cast<float>(
          plain::RmsNormRow(own, exact_w.data(), n, double{static_cast<float>(kEpsilon)}, row.data()));
      const double factor = r[t];
      std::fill(row.begin(), row.end(), 0.0);
      plain::RmsNormRowBackward(own, exact_w.data(), factor, gradient, n, row.data());
      plain::RmsNormRowGain(own, factor, gradient, n, gain.data());
      double mean = 0;
      for (int c = 0; c < n; ++c) mean += std::fabs(gradient[c] * exact_w[c] * own[c] * factor) / n;
      for (int c = 0; c < stride; ++c) {
        const double before = ToDouble(dx_before[t * stride + c]);
        if (c >= n) {
          dx.AddExact(before);
          continue;
        }
        const double added = accumulate ? before : 0;
        dx.Add<Dx>(added + row[c], n + kRoundings,
                   std::fabs(added) +
                       factor * (std::fabs(gradient[c] * exact_w[c]) + std::fabs(own[c] * factor) * mean));
        gain_magnitude[c] += std::fabs(gradient[c] * own[c] * factor);
      }
    }
    for (int c = 0; c < n; ++c)
      dw.Add<float>(dw_before[c] + gain[c], rows + kRoundings, std::fabs(dw_before[c]) + gain_magnitude[c]);
    const auto got = table->Twice([&] {
      DeviceArray<X> device_x(x);
      DeviceArray<Dy> device_dy(dy);
      DeviceArray<Dx> device_dx(dx_before);
      DeviceArray<float> device_w(w), device_r(r), device_dw(dw_before),
          workspace(RmsNormBackwardWorkspace(rows, n));
      RmsNormBackward(TestStream(), device_x.data(), stride, device_w.data(), device_r.data(),
                      device_dy.data(), n, rows, n, accumulate, device_dx.data(), stride, device_dw.data(),
                      workspace.data());
      return Outputs{device_dx.Doubles(), device_dw.Doubles()};
    });
    table->Compare("dx", got[0], dx);
    table->Compare("dw", got[1], dw);
  }
}

template <typename T>
void RopeCases(Table* table) {
  struct Shape {
    int rows, vectors, dim, gap;
  };
  constexpr int kPositions = 50;
  for (const Shape& shape :
       {Shape{1, 1, 2, 0}, Shape{7, 3, 6, 5}, Shape{130, 2, 16, 32}, Shape{3, 5, 64, 128}}) {
    for (const bool backward : {false, true}) {
      table->Begin(backward ? "Rope backward" : "Rope", NameOf<T>(),
                   std::to_string(shape.rows) + " x " + std::to_string(shape.vectors) + " x " +
                       std::to_string(shape.dim));
      const RopeTable rope(10000.0, shape.dim, kPositions);
      const int pairs = shape.dim / 2, vector_stride = shape.dim + shape.gap,
                row_stride = shape.vectors * vector_stride;
      const std::vector<float> cosines(rope.cosines(0), rope.cosines(0) + kPositions * pairs),
          sines(rope.sines(0), rope.sines(0) + kPositions * pairs);
      std::vector<std::int32_t> positions(shape.rows);
      for (int t = 0; t < shape.rows; ++t) positions[t] = (t * 13 + 1) % kPositions;
      const auto x = Numbers<T>(shape.rows * row_stride, 1);
      Expected expected;
      for (const T value : x) expected.AddExact(ToDouble(value));
      for (int t = 0; t < shape.rows; ++t) {
        for (int i = 0; i < shape.vectors * pairs; ++i) {
          const int at = t * row_stride + i / pairs * vector_stride + 2 * (i % pairs);
          const double cosine = rope.cosines(positions[t])[i % pairs],
                       sine = (backward ? -1 : 1) * double{rope.sines(positions[t])[i % pairs]};
          const double a = ToDouble(x[at]), b = ToDouble(x[at + 1]);
          const double turned[] = {a * cosine - b * sine, a * sine + b * cosine};
          const double magnitudes[] = {std::fabs(a * cosine) + std::fabs(b * sine),
                                       std::fabs(a * sine) + std::fabs(b * cosine)};
          for (int j = 0; j < 2; ++j) {
            expected.want[at + j] = turned[j];
            expected.bound[at + j] = UnitOf<T>() * std::fabs(turned[j]) + 2 * kUnit * magnitudes[j];
          }
        }
      }
      table->Compare("x", table->Twice([&] {
        DeviceArray<float> device_cosines(cosines), device_sines(sines);
        DeviceArray<std::int32_t> device_positions(positions);
        DeviceArray<T> device_x(x);
        Rope(TestStream(), device_cosines.data(), device_sines.data(), shape.dim, device_positions.data(),
             shape.rows, shape.vectors, backward, device_x.data(), row_stride, vector_stride);
        return Outputs{device_x.Doubles()};
      })[0],
                     expected);
    }
  }
}

template <typename T>
void SwigluCases(Table* table, bool scaled) {
  for (const NormShape& shape : table->Of(kNormShapes)) {
    const int rows = shape.rows, n = shape.n;
    const auto gate_up = Numbers<T>(rows * 2 * n, 1, 4);
    const auto d_h = Numbers<T>(rows * n, 2);
    const auto scale = Numbers<float>(rows, 3);
    const auto exact = Doubles(gate_up), exact_d = Doubles(d_h);
    Expected h, d_gate_up, d_scale;
    std::vector<double> row(n), d_gate(n), d_up(n);
    for (int t = 0; t < rows; ++t) {
      const double* const gate = &exact[t * 2 * n];
      const double* const up = gate + n;
      const double* const d = &exact_d[t * n];
      const double factor = scaled ? scale[t] : 1.0;
      plain::SwigluRow(gate, up, factor, n, row.data());
      for (const double value : row) h.Add<T>(value, kRoundings, std::fabs(value));
      const double sum = plain::SwigluRowBackward(gate, up, d, factor, n, d_gate.data(), d_up.data());
      double magnitude = 0;
      for (int c = 0; c < n; ++c) {
        const double s = 1 / (1 + std::exp(-gate[c]));
        magnitude += std::fabs(d[c] * gate[c] * s * up[c]);
        d_gate_up.Add<T>(d_gate[c], kRoundings,
                         std::fabs(factor * d[c] * up[c]) * s * (1 + std::fabs(gate[c])));
      }
      for (int c = 0; c < n; ++c) d_gate_up.Add<T>(d_up[c], kRoundings, std::fabs(d_up[c]));
      d_scale.Add<float>(sum, n + kRoundings, magnitude);
    }
    table->Begin("Swiglu", NameOf<T>(), Describe(shape));
    table->Compare("h", table->Twice([&] {
      DeviceArray<T> device_gate_up(gate_up), device_h(rows * n);
      DeviceArray<float> device_scale(scale);
      Swiglu(TestStream(), device_gate_up.data(), scaled ? device_scale.data() : nullptr, rows, n,
             device_h.data());
      return Outputs{device_h.Doubles()};
    })[0],
                   h);
    table->Begin("SwigluBackward", NameOf<T>(), Describe(shape));
    const auto got = table->Twice([&] {
      DeviceArray<T> device_gate_up(gate_up), device_d_h(d_h), device_d_gate_up(rows * 2 * n);
      DeviceArray<float> device_scale(scale), device_d_scale(rows);
      SwigluBackward(TestStream(), device_gate_up.data(), scaled ? device_scale.data() : nullptr,
                     device_d_h.data(), rows, n, device_d_gate_up.data(),
                     scaled ? device_d_scale.data() : nullptr);
      return Outputs{device_d_gate_up.Doubles(), scaled ? device_d_scale.Doubles() : std::vector<double>()};
    });
    table->Compare("d_gate_up", got[0], d_gate_up);
    if (scaled) table->Compare("d_scale", got[1], d_scale);
  }
}

}  // namespace

void RunNormCases(Table* table) {
  RmsNormCases<float, float>(table);
  RmsNormCases<float, Bf16>(table);
  RmsNormCases<Bf16, float>(table);
  RmsNormCases<Bf16, Bf16>(table);
  for (const bool accumulate : {false, true}) {
    RmsNormBackwardCases<float, float, float>(table, accumulate);
    RmsNormBackwardCases<float, Bf16, float>(table, accumulate);
    RmsNormBackwardCases<float, float, Bf16>(table, accumulate);
    RmsNormBackwardCases<Bf16, Bf16, Bf16>(table, accumulate);
    RmsNormBackwardCases<Bf16, float, Bf16>(table, accumulate);
    RmsNormBackwardCases<Bf16, Bf16, float>(table, accumulate);
  }
  RopeCases<float>(table);
  RopeCases<Bf16>(table);
  for (const bool scaled : {false, true}) {
    SwigluCases<float>(table, scaled);
    SwigluCases<Bf16>(table, scaled);
  }
}

}  // namespace retort::student
