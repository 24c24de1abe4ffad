#include "student/ops/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "tests/student/ops/numbers.h"

namespace retort::student {
namespace {

struct Case {
  int m, n, k;
  bool transpose_a, transpose_b, accumulate;
};

// Operands with strides larger than their rows.
struct Operands {
  explicit Operands(const Case& c)
      : a_columns(c.transpose_a ? c.m : c.k),
        b_columns(c.transpose_b ? c.k : c.n),
        a(Numbers((c.transpose_a ? c.k : c.m) * (a_columns + 3), 1)),
        b(Numbers((c.transpose_b ? c.n : c.k) * (b_columns + 5), 2)),
        c0(Numbers(c.m * (c.n + 2), 3)) {}
  MatrixProduct Product(const Case& c, float* out) const {
    return {.a = {a.data(), a_columns + 3},
            .b = {b.data(), b_columns + 5},
            .c = out,
            .c_stride = c.n + 2,
            .m = c.m,
            .n = c.n,
            .k = c.k,
            .transpose_a = c.transpose_a,
            .transpose_b = c.transpose_b,
            .accumulate = c.accumulate};
  }
  // C by the plain loops in fp64.
  std::vector<float> Want(const Case& c) const {
    std::vector<double> a64(a.begin(), a.end()), b64(b.begin(), b.end()), c64(c0.begin(), c0.end());
    const std::int64_t a_stride = a_columns + 3, b_stride = b_columns + 5;
    MatMulPlain(a64.data(), c.transpose_a ? 1 : a_stride, c.transpose_a ? a_stride : 1, b64.data(),
                c.transpose_b ? 1 : b_stride, c.transpose_b ? b_stride : 1, c64.data(), c.n + 2, c.m, c.n,
                c.k, c.accumulate);
    return {c64.begin(), c64.end()};
  }

  std::int64_t a_columns, b_columns;
  std::vector<float> a, b, c0;
};

std::vector<Case> OddCases() {
  std::vector<Case> cases;
  for (const auto& [m, n, k] : std::vector<std::array<int, 3>>{{1, 1, 1},
                                                               {1, 33, 7},
                                                               {14, 32, 256},
                                                               {15, 31, 257},
                                                               {13, 17, 5},
                                                               {29, 100, 64},
                                                               {170, 260, 33},
                                                               {85, 47, 600},
                                                               {7, 16, 255},
                                                               {2, 300, 300},
                                                               {40, 40, 0}}) {
    for (int bits = 0; bits < 8; ++bits)
      cases.push_back({m, n, k, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0});
  }
  return cases;
}

// Sum of k products of numbers up to 1 in fp32: at most k roundings, each of half an ulp of a partial sum up
// to k. Random signs keep partial sums near sqrt(k); a factor of 4 covers their spread.
double Bound(int k) {
  return 4 * 6e-8 * std::sqrt(k + 1.0) * std::sqrt(k + 1.0) + 1e-7;
}

TEST(MatmulTest, AgreesWithDoubleLoopsOverOddShapes) {
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    double worst = 0;
    for (const Case& c : OddCases()) {
      const Operands operands(c);
      std::vector<float> got = operands.c0;
      const std::vector<float> want = operands.Want(c);
      MatMul(machine.compute, operands.Product(c, got.data()));
      for (std::size_t i = 0; i < got.size(); ++i) {
        const double error = std::fabs(got[i] - want[i]);
        ASSERT_TRUE(error <= Bound(c.k))
            << IsaName(isa) << " " << c.m << "x" << c.n << "x" << c.k << " at " << i;
        worst = std::max(worst, error / Bound(c.k));
      }
    }
    std::printf("%s: worst error %.2g of the bound\n", IsaName(isa), worst);
  }
}

TEST(MatmulTest, HereAndSharedOutGiveTheSameBits) {
  for (const Isa isa : SupportedIsas()) {
    Machine one(isa, 1), three(isa, 3);
    Buffer scratch;
    for (const Case& c : OddCases()) {
      const Operands operands(c);
      std::vector<float> a = operands.c0, b = operands.c0, d = operands.c0;
      MatMul(one.compute, operands.Product(c, a.data()));
      MatMul(three.compute, operands.Product(c, b.data()));
      MultiplyHere(isa, operands.Product(c, d.data()), &scratch);
      EXPECT_EQ(a, b);
      EXPECT_EQ(a, d);
    }
  }
}

TEST(MatmulTest, FastPathsGiveTheSameBits) {
  if (!IsaSupported(Isa::kAvx512)) GTEST_SKIP() << "this processor has no AVX-512";
  Machine narrow(Isa::kAvx2), wide(Isa::kAvx512);
  for (const Case& c : OddCases()) {
    const Operands operands(c);
    std::vector<float> a = operands.c0, b = operands.c0;
    MatMul(narrow.compute, operands.Product(c, a.data()));
    MatMul(wide.compute, operands.Product(c, b.data()));
    EXPECT_EQ(a, b);
  }
}

TEST(MatmulTest, RowsAreGatheredAndManyProductsShareACall) {
  const std::vector<float> x = Numbers(50 * 40, 1), w = Numbers(24 * 40, 2);
  const std::vector<std::int32_t> rows = {49, 0, 7, 7, 21};
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    std::vector<float> gathered(5 * 24), all(50 * 24);
    std::vector<float> dw(24 * 40, 0.0f), dw_want(24 * 40, 0.0f), copy;
    for (const int row : rows) copy.insert(copy.end(), x.begin() + row * 40, x.begin() + row * 40 + 40);
    const std::vector<float> dy = Numbers(5 * 24, 3);
    const MatrixProduct products[] = {
        LinearForward({x.data(), 40, rows.data()}, {w.data(), 40}, gathered.data(), 24, 5, 40, 24),
        LinearForward({x.data(), 40}, {w.data(), 40}, all.data(), 24, 50, 40, 24),
        LinearBackwardWeight({dy.data(), 24}, {x.data(), 40, rows.data()}, dw.data(), 40, 5, 40, 24)};
    MatMul(machine.compute, products);
    for (int i = 0; i < 5; ++i) {
      EXPECT_TRUE(
          std::equal(gathered.begin() + i * 24, gathered.begin() + i * 24 + 24, all.begin() + rows[i] * 24));
    }
    MatMul(machine.compute,
           LinearBackwardWeight({dy.data(), 24}, {copy.data(), 40}, dw_want.data(), 40, 5, 40, 24));
    EXPECT_EQ(dw, dw_want);
  }
}

TEST(MatmulTest, BackwardProductsAreTheTransposes) {
  // y = x w^T with x [2, 3], w [2, 3], worked by hand.
  const std::vector<float> x = {1, 2, 3, 4, 5, 6}, w = {1, 0, -1, 2, 1, 0}, dy = {1, 10, 100, 1000};
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    std::vector<float> y(4), dx(6), dw(6, 1.0f);
    MatMul(machine.compute, LinearForward({x.data(), 3}, {w.data(), 3}, y.data(), 2, 2, 3, 2));
    EXPECT_EQ(y, (std::vector<float>{-2, 4, -2, 13}));
    MatMul(machine.compute, LinearBackwardInput({dy.data(), 2}, {w.data(), 3}, dx.data(), 3, 2, 3, 2, false));
    EXPECT_EQ(dx, (std::vector<float>{21, 10, -1, 2100, 1000, -100}));
    MatMul(machine.compute, LinearBackwardWeight({dy.data(), 2}, {x.data(), 3}, dw.data(), 3, 2, 3, 2));
    EXPECT_EQ(dw, (std::vector<float>{402, 503, 604, 4011, 5021, 6031}));
  }
}

TEST(MatmulTest, NotANumberIsNotHidden) {
  for (const Isa isa : SupportedIsas()) {
    Machine machine(isa);
    std::vector<float> a(20 * 20, 0.0f), b(20 * 20, 0.0f), c(20 * 20);
    a[3 * 20 + 4] = std::nanf("");
    MatMul(machine.compute, LinearForward({a.data(), 20}, {b.data(), 20}, c.data(), 20, 20, 20, 20));
    EXPECT_TRUE(std::isnan(c[3 * 20 + 7]));
    EXPECT_EQ(c[4 * 20 + 7], 0.0f);
  }
}

}  // namespace
}  // namespace retort::student
