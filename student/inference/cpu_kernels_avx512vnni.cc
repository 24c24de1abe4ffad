// Kernels for AVX-512 with VNNI, whose vpdpwssd multiplies and adds in one instruction.
#include <immintrin.h>

#include <cstring>

#include "student/inference/internal/isa_tables.h"

namespace retort::student {
namespace {

inline __m512i Dot(__m512i sums, __m512i weights, __m512i activations) {
  return _mm512_dpwssd_epi32(sums, weights, activations);
}

#include "student/inference/internal/avx512_multiply.inc"
#include "student/inference/internal/row_kernels.inc"

}  // namespace

const CpuKernels& Avx512VnniKernels() {
  static constexpr CpuKernels kKernels = MakeKernels("avx512vnni", Multiply);
  return kKernels;
}

}  // namespace retort::student
