// Made-up numbers and finite differences for the tests of operators.
#ifndef TESTS_STUDENT_OPS_NUMBERS_H_
#define TESTS_STUDENT_OPS_NUMBERS_H_

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "student/tensor/compute.h"

namespace retort::student {

// Uniform in [-1, 1).
template <typename Real = float>
std::vector<Real> Numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<Real> values(count);
  for (Real& value : values) value = static_cast<Real>(static_cast<double>(random()) / 2147483648.0 - 1.0);
  return values;
}

inline std::vector<Isa> SupportedIsas() {
  std::vector<Isa> isas = {Isa::kPlain};
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    if (IsaSupported(isa)) isas.push_back(isa);
  }
  return isas;
}

// Threads and scratch for one test.
struct Machine {
  explicit Machine(Isa isa, int threads = 2)
      : pool(threads), scratch(threads), compute{&pool, &scratch, isa} {}
  ThreadPool pool;
  Scratch scratch;
  Compute compute;
};

// Checks that gradient is that of loss with respect to *x, by central differences in fp64.
inline void ExpectGradient(const std::function<double()>& loss, std::vector<double>* x,
                           const std::vector<double>& gradient, const char* what) {
  ASSERT_EQ(x->size(), gradient.size());
  constexpr double kStep = 1e-5;
  for (std::size_t i = 0; i < x->size(); ++i) {
    const double kept = (*x)[i];
    (*x)[i] = kept + kStep;
    const double above = loss();
    (*x)[i] = kept - kStep;
    const double below = loss();
    (*x)[i] = kept;
    const double difference = (above - below) / (2 * kStep);
    // The error of the quotient: kStep^2 times a third derivative of order one, and rounding of the loss over
    // kStep.
    ASSERT_NEAR(gradient[i], difference, 2e-8 + 2e-8 * std::fabs(difference)) << what << "[" << i << "]";
  }
}

// Checks got against want; NaN fails. Returns and prints the worst error.
inline double ExpectClose(const std::vector<float>& got, const std::vector<float>& want, double bound,
                          const char* what) {
  EXPECT_EQ(got.size(), want.size());
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(static_cast<double>(got[i]) - want[i]);
    if (!(error <= bound)) {
      ADD_FAILURE() << what << "[" << i << "] is " << got[i] << "; wanted " << want[i] << " within " << bound;
      return error;
    }
    worst = std::max(worst, error);
  }
  std::printf("%s: worst error %.2g, bound %.2g\n", what, worst, bound);
  return worst;
}

inline double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_OPS_NUMBERS_H_
