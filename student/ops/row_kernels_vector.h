// Body of row_kernels_avx2.cc and row_kernels_avx512.cc: sixteen lanes of the compiler's vector type.
// Includes no header with inline code of the standard library (see matmul_kernel.h); everything here has
// internal linkage.
#ifndef STUDENT_OPS_ROW_KERNELS_VECTOR_H_
#define STUDENT_OPS_ROW_KERNELS_VECTOR_H_

#include <immintrin.h>

#include "student/ops/row_kernels.h"

namespace retort::student {
namespace {

constexpr int kLanes = 16;
typedef float Lanes __attribute__((vector_size(64)));
typedef unsigned int BitLanes __attribute__((vector_size(64)));
typedef float LanesInMemory __attribute__((vector_size(64), aligned(4), may_alias));

#define STUDENT_INLINE inline __attribute__((always_inline))

STUDENT_INLINE Lanes Load(const float* x) {
  return *reinterpret_cast<const LanesInMemory*>(x);
}
STUDENT_INLINE void Store(float* x, Lanes v) {
  *reinterpret_cast<LanesInMemory*>(x) = v;
}
STUDENT_INLINE Lanes All(float x) {
  return Lanes{} + x;
}

// The last n < 16 values of a row, the other lanes `fill`.
STUDENT_INLINE Lanes LoadPart(const float* x, int n, float fill) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? x[i] : fill;
  return Load(lanes);
}
STUDENT_INLINE void StorePart(float* x, int n, Lanes v) {
  float lanes[kLanes];
  Store(lanes, v);
  for (int i = 0; i < n; ++i) x[i] = lanes[i];
}

// Calls body(i, count) for i = 0, 16, ...; count is 16 but for the last, and a constant where it is inlined.
template <typename Body>
STUDENT_INLINE void ForLanes(int n, const Body& body) {
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, kLanes);
  if (i < n) body(i, n - i);
}
STUDENT_INLINE Lanes Get(const float* x, int count, float fill = 0.0f) {
  return count == kLanes ? Load(x) : LoadPart(x, count, fill);
}
STUDENT_INLINE void Put(float* x, int count, Lanes v) {
  if (count == kLanes) {
    Store(x, v);
  } else {
    StorePart(x, count, v);
  }
}

STUDENT_INLINE float Sum(Lanes v) {
  float lanes[kLanes];
  Store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

STUDENT_INLINE Lanes SquareRoot(Lanes v) {
#if defined(__AVX512F__)
  return (Lanes)_mm512_sqrt_ps((__m512)v);
#else
  float lanes[kLanes];
  Store(lanes, v);
  for (int i = 0; i < kLanes; i += 8) _mm256_storeu_ps(lanes + i, _mm256_sqrt_ps(_mm256_loadu_ps(lanes + i)));
  return Load(lanes);
#endif
}

// e^x within 2 ulp for x <= 88; 0 below -87.3. Range reduction by ln 2 in two parts, then the Taylor series
// to x^6 on |r| <= 0.3466, whose first omitted term is below 1.2e-7.
STUDENT_INLINE Lanes Exp(Lanes x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Lanes shifted = x * 1.44269504088896341f + kRound;
  const Lanes n = shifted - kRound;
  const Lanes r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Lanes p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  // Modulo 2^32: lanes out of range wrap, and the last line discards them.
  const BitLanes exponent = ((BitLanes)shifted - 0x4b400000) << 23;
  const Lanes result = (Lanes)((BitLanes)p + exponent);
  return x < -87.3f ? Lanes{} : result;
}

STUDENT_INLINE Lanes Sigmoid(Lanes x) {
  const Lanes limited = x < -87.0f ? All(-87.0f) : x > 87.0f ? All(87.0f) : x;
  return 1.0f / (1.0f + Exp(-limited));
}

float Dot(const float* a, const float* b, int n) {
  Lanes sum{};
  ForLanes(
      n, [&](int i, int count)
             __attribute__((always_inline)) { sum += Get(a + i, count) * Get(b + i, count); });
  return Sum(sum);
}

void Add(const float* x, int n, float* y) {
  ForLanes(
      n, [&](int i, int count)
             __attribute__((always_inline)) { Put(y + i, count, Get(y + i, count) + Get(x + i, count)); });
}

void Scale(float factor, int n, float* y) {
  ForLanes(
      n, [&](int i, int count)
             __attribute__((always_inline)) { Put(y + i, count, Get(y + i, count) * factor); });
}

float Maximum(const float* x, int n) {
  Lanes best = All(-__builtin_inff());
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        const Lanes value = Get(x + i, count, -__builtin_inff());
        best = best > value ? best : value;
      });
  float lanes[kLanes];
  Store(lanes, best);
  for (int i = 1; i < kLanes; ++i) lanes[0] = lanes[0] > lanes[i] ? lanes[0] : lanes[i];
  return lanes[0];
}

float ExpSum(float* x, int n, float shift) {
  Lanes sum{};
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        const Lanes value = Exp(Get(x + i, count, -__builtin_inff()) - shift);
        Put(x + i, count, value);
        sum += value;
      });
  return Sum(sum);
}

float RmsNorm(const float* x, const float* w, int n, float epsilon, float* y) {
  const float r = 1.0f / __builtin_sqrtf(Dot(x, x, n) / static_cast<float>(n) + epsilon);
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        Put(y + i, count, Get(w + i, count) * (Get(x + i, count) * r));
      });
  return r;
}

void RmsNormBackward(const float* x, const float* w, float r, const float* dy, int n, float* dx) {
  Lanes sum{};
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        sum += (Get(dy + i, count) * Get(w + i, count)) * (Get(x + i, count) * r);
      });
  const float mean = Sum(sum) / static_cast<float>(n);
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        const Lanes g = Get(dy + i, count) * Get(w + i, count);
        const Lanes xhat = Get(x + i, count) * r;
        Put(dx + i, count, Get(dx + i, count) + r * (g - xhat * mean));
      });
}

void RmsNormGain(const float* x, float r, const float* dy, int n, float* dw) {
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        Put(dw + i, count, Get(dw + i, count) + Get(dy + i, count) * (Get(x + i, count) * r));
      });
}

void Swiglu(const float* gate, const float* up, float scale, int n, float* h) {
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        const Lanes g = Get(gate + i, count);
        Put(h + i, count, scale * (g * Sigmoid(g) * Get(up + i, count)));
      });
}

float SwigluBackward(const float* gate, const float* up, const float* dh, float scale, int n, float* d_gate,
                     float* d_up) {
  Lanes sum{};
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        const Lanes g = Get(gate + i, count), u = Get(up + i, count), d = Get(dh + i, count);
        const Lanes s = Sigmoid(g);
        const Lanes silu = g * s;
        sum += d * (silu * u);
        const Lanes scaled = scale * d;
        Put(d_up + i, count, scaled * silu);
        Put(d_gate + i, count, scaled * u * (s * (1.0f + g * (1.0f - s))));
      });
  return Sum(sum);
}

void AttentionBackward(float* s, float* dp, float scale, float lse, float delta, int n) {
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        const Lanes p = Exp(Get(s + i, count) * scale - lse);
        Put(s + i, count, p);
        Put(dp + i, count, scale * (p * (Get(dp + i, count) - delta)));
      });
}

void AdamWRow(const AdamWCoefficients& c, const float* gradient, int n, float* theta, float* m, float* v) {
  ForLanes(
      n, [&](int i, int count) __attribute__((always_inline)) {
        const Lanes g = Get(gradient + i, count) * c.gradient_scale;
        const Lanes m1 = c.beta1 * Get(m + i, count) + (1.0f - c.beta1) * g;
        const Lanes v1 = c.beta2 * Get(v + i, count) + (1.0f - c.beta2) * (g * g);
        const Lanes t = Get(theta + i, count);
        Put(m + i, count, m1);
        Put(v + i, count, v1);
        Put(theta + i, count,
            t - (c.step * (m1 / (SquareRoot(v1) * c.root_correction + c.epsilon)) + c.decay * t));
      });
}

constexpr RowKernels kVectorRowKernels = {
    Dot,         Add,    Scale,          Maximum,           ExpSum,  RmsNorm, RmsNormBackward,
    RmsNormGain, Swiglu, SwigluBackward, AttentionBackward, AdamWRow};

}  // namespace
}  // namespace retort::student

#endif  // STUDENT_OPS_ROW_KERNELS_VECTOR_H_
