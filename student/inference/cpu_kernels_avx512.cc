// Kernels for AVX-512 F, BW, DQ and VL.
#include <immintrin.h>

#include <cstring>

#include "student/inference/internal/isa_tables.h"

namespace retort::student {
namespace {

inline __m512i Dot(__m512i sums, __m512i weights, __m512i activations) {
  return _mm512_add_epi32(sums, _mm512_madd_epi16(weights, activations));
}

#include "student/inference/internal/avx512_multiply.inc"
#include "student/inference/internal/row_kernels.inc"

}  // namespace

const CpuKernels& Avx512Kernels() {
  static constexpr CpuKernels kKernels = MakeKernels("avx512", Multiply);
  return kKernels;
}

}  // namespace retort::student
