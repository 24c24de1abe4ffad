// C = alpha * op(A) * op(B) + beta * C for column-major matrices in memory that the caller may touch.
//
// Products and sums are fp32, added in the order of k for each element: the bits depend on the operands
// alone. A and B are not read when alpha is 0, C not when beta is 0.
#ifndef TESTS_CUDA_ON_CPU_GEMM_H_
#define TESTS_CUDA_ON_CPU_GEMM_H_

#include <cstdint>

namespace retort::cuda_on_cpu {

enum class Number : std::uint8_t { kF32, kBf16 };
inline std::size_t BytesOf(Number number) {
  return number == Number::kF32 ? 4 : 2;
}

// How fp32 operands are rounded before they are multiplied.
enum class Rounding : std::uint8_t { kNone, kTf32, kBf16 };

struct Matrix {
  const void* data = nullptr;
  Number number = Number::kF32;
  std::int64_t leading = 0;  // elements between columns
  bool transposed = false;
};

struct Gemm {
  std::int64_t m = 0, n = 0, k = 0;
  float alpha = 1.0f, beta = 0.0f;
  Matrix a;  // m x k after op
  Matrix b;  // k x n after op
  void* c = nullptr;
  Number c_number = Number::kF32;
  std::int64_t c_leading = 0;
  Rounding rounding = Rounding::kNone;
};

void RunGemm(const Gemm& gemm);

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_GEMM_H_
