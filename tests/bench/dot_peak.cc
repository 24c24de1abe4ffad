#include "tests/bench/dot_peak.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace retort::student {
namespace {

constexpr int kRounds = 1 << 21;
constexpr int kSums = 12;  // independent, so that latency does not count

#if defined(__x86_64__)

__attribute__((target("avx512f,avx512bw,avx512vnni"))) uint64_t Vnni() {
  __m512i sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_epi32(i);
  __m512i a = _mm512_set1_epi16(3), b = _mm512_set1_epi16(5);
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpwssd_epi32(sums[i], a, b);
    asm volatile("" : "+v"(a), "+v"(b));
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
  volatile int keep = _mm512_cvtsi512_si32(sums[0]);
  (void)keep;
  return uint64_t{kRounds} * kSums * 32;
}

__attribute__((target("avx2"))) uint64_t Avx2() {
  __m256i sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm256_set1_epi32(i);
  __m256i a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(5);
  for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(a, b));
    asm volatile("" : "+x"(a), "+x"(b));
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm256_add_epi32(sums[0], sums[i]);
  volatile int keep = _mm256_extract_epi32(sums[0], 0);
  (void)keep;
  return uint64_t{kRounds} * kSums * 16;
}

#endif

uint64_t Plain() {
  volatile int sum = 0;
  for (int round = 0; round < kRounds; ++round) sum = sum + round * 3;
  return kRounds;
}

}  // namespace

uint64_t DotPeakRound() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw")) return Vnni();
  if (__builtin_cpu_supports("avx2")) return Avx2();
#endif
  return Plain();
}

}  // namespace retort::student
