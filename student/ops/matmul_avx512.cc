// 14 rows by 32 columns: 28 accumulators, two registers of B and one broadcast value of A fill the 32
// registers.
#include <immintrin.h>

#include "student/ops/matmul_kernel.h"

namespace retort::student {
namespace {

constexpr int kRows = 14;
constexpr int kColumns = 32;

template <int rows>
inline __attribute__((always_inline)) void Panel(const float* a, const float* b, int k, float* c,
                                                 std::int64_t c_stride, __mmask16 mask0, __mmask16 mask1,
                                                 bool accumulate) {
  __m512 sum0[rows], sum1[rows];
#pragma GCC unroll 14
  for (int i = 0; i < rows; ++i) sum0[i] = sum1[i] = _mm512_setzero_ps();
  for (int i = 0; i < rows; ++i) {  // C is often in memory, and far apart from row to row
    _mm_prefetch(reinterpret_cast<const char*>(c + i * c_stride), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(c + i * c_stride + 16), _MM_HINT_T0);
  }
  for (int l = 0; l < k; ++l) {
    const __m512 b0 = _mm512_load_ps(b), b1 = _mm512_load_ps(b + 16);
    b += kColumns;
#pragma GCC unroll 14
    for (int i = 0; i < rows; ++i) {
      const __m512 value = _mm512_set1_ps(a[i]);
      sum0[i] = _mm512_fmadd_ps(value, b0, sum0[i]);
      sum1[i] = _mm512_fmadd_ps(value, b1, sum1[i]);
    }
    a += rows;
  }
#pragma GCC unroll 14
  for (int i = 0; i < rows; ++i) {
    float* row = c + i * c_stride;
    if (accumulate) {
      sum0[i] = _mm512_add_ps(_mm512_maskz_loadu_ps(mask0, row), sum0[i]);
      sum1[i] = _mm512_add_ps(_mm512_maskz_loadu_ps(mask1, row + 16), sum1[i]);
    }
    _mm512_mask_storeu_ps(row, mask0, sum0[i]);
    _mm512_mask_storeu_ps(row + 16, mask1, sum1[i]);
  }
}

template <int rows>
__attribute__((noinline)) void Panels(const float* a, const float* b, int n, int k, float* c,
                                      std::int64_t c_stride, bool accumulate) {
  for (int j = 0; j < n; j += kColumns, b += k * kColumns) {
    const int left = n - j;
    const __mmask16 mask0 = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    const __mmask16 mask1 = left >= 32   ? 0xffff
                            : left <= 16 ? 0
                                         : static_cast<__mmask16>((1u << (left - 16)) - 1);
    Panel<rows>(a, b, k, c + j, c_stride, mask0, mask1, accumulate);
  }
}

using PanelsFunction = void (*)(const float*, const float*, int, int, float*, std::int64_t, bool);
constexpr PanelsFunction kPanels[kRows] = {Panels<1>,  Panels<2>,  Panels<3>,  Panels<4>, Panels<5>,
                                           Panels<6>,  Panels<7>,  Panels<8>,  Panels<9>, Panels<10>,
                                           Panels<11>, Panels<12>, Panels<13>, Panels<14>};

void Multiply(const float* a, const float* b, int m, int n, int k, float* c, std::int64_t c_stride,
              bool accumulate) {
  for (int i = 0; i < m; i += kRows) {
    const int rows = m - i < kRows ? m - i : kRows;
    kPanels[rows - 1](a, b, n, k, c, c_stride, accumulate);
    a += rows * k;
    c += rows * c_stride;
  }
}

// Transposes 16 rows of 16 values.
inline __attribute__((always_inline)) void Transpose16(__m512 r[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const auto lo0 = _mm512_castps_pd(t[4 * i]), lo1 = _mm512_castps_pd(t[4 * i + 2]);
    const auto hi0 = _mm512_castps_pd(t[4 * i + 1]), hi1 = _mm512_castps_pd(t[4 * i + 3]);
    r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(lo0, lo1));
    r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(lo0, lo1));
    r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(hi0, hi1));
    r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(hi0, hi1));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

void PackTransposed(const float* const* source, int count, int k, int width, float* packed) {
  for (int first = 0; first < width; first += 16) {
    const int rows = count - first < 16 ? (count > first ? count - first : 0) : 16;
    const int out = width - first < 16 ? width - first : 16;
    const __mmask16 out_mask = out == 16 ? 0xffff : static_cast<__mmask16>((1u << out) - 1);
    for (int l = 0; l < k; l += 16) {
      const int depth = k - l < 16 ? k - l : 16;
      const __mmask16 depth_mask = depth == 16 ? 0xffff : static_cast<__mmask16>((1u << depth) - 1);
      __m512 r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        r[i] = i < rows ? _mm512_maskz_loadu_ps(depth_mask, source[first + i] + l) : _mm512_setzero_ps();
      }
      Transpose16(r);
      float* target = packed + static_cast<std::int64_t>(l) * width + first;
      if (depth == 16 && out == 16) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) _mm512_storeu_ps(target + i * width, r[i]);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          if (i < depth) _mm512_mask_storeu_ps(target + i * width, out_mask, r[i]);
        }
      }
    }
  }
}

void PackStraight(const float* const* source, int count, int k, int width, float* packed) {
  // At most two registers a row: width is a panel's, of A or of B.
  const auto mask = [](int n) {
    return static_cast<__mmask16>(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1);
  };
  const __mmask16 in0 = mask(count), in1 = mask(count - 16), out0 = mask(width), out1 = mask(width - 16);
  if (width <= 16) {
    for (int l = 0; l < k; ++l, packed += width) {
      _mm512_mask_storeu_ps(packed, out0, _mm512_maskz_loadu_ps(in0, source[l]));
    }
  } else if (count == kColumns) {
    for (int l = 0; l < k; ++l, packed += kColumns) {
      const __m512 low = _mm512_loadu_ps(source[l]), high = _mm512_loadu_ps(source[l] + 16);
      _mm512_storeu_ps(packed, low);
      _mm512_storeu_ps(packed + 16, high);
    }
  } else {
    for (int l = 0; l < k; ++l, packed += width) {
      _mm512_mask_storeu_ps(packed, out0, _mm512_maskz_loadu_ps(in0, source[l]));
      _mm512_mask_storeu_ps(packed + 16, out1, _mm512_maskz_loadu_ps(in1, source[l] + 16));
    }
  }
}

}  // namespace

const MatmulKernel kMatmulKernelAvx512 = {kRows, kColumns, PackTransposed, PackStraight, Multiply};

}  // namespace retort::student
