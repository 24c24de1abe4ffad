// 6 rows by 16 columns: 12 accumulators, two registers of B and two broadcast values of A fill the 16
// registers. Same order of operations for every element as matmul_avx512.cc, hence the same bits.
#include <immintrin.h>

#include "student/ops/matmul_kernel.h"

namespace retort::student {
namespace {

constexpr int kRows = 6;
constexpr int kColumns = 16;

template <int rows>
void Panel(const float* a, const float* b, int n, int k, float* c, std::int64_t c_stride, bool accumulate) {
  __m256 sum0[rows], sum1[rows];
#pragma GCC unroll 6
  for (int i = 0; i < rows; ++i) sum0[i] = sum1[i] = _mm256_setzero_ps();
  for (int l = 0; l < k; ++l) {
    const __m256 b0 = _mm256_load_ps(b), b1 = _mm256_load_ps(b + 8);
    b += kColumns;
#pragma GCC unroll 6
    for (int i = 0; i < rows; ++i) {
      const __m256 value = _mm256_broadcast_ss(a + i);
      sum0[i] = _mm256_fmadd_ps(value, b0, sum0[i]);
      sum1[i] = _mm256_fmadd_ps(value, b1, sum1[i]);
    }
    a += rows;
  }
  for (int i = 0; i < rows; ++i) {
    float* row = c + i * c_stride;
    if (n >= kColumns) {
      if (accumulate) {
        sum0[i] = _mm256_add_ps(_mm256_loadu_ps(row), sum0[i]);
        sum1[i] = _mm256_add_ps(_mm256_loadu_ps(row + 8), sum1[i]);
      }
      _mm256_storeu_ps(row, sum0[i]);
      _mm256_storeu_ps(row + 8, sum1[i]);
    } else {
      alignas(32) float edge[kColumns];
      _mm256_store_ps(edge, sum0[i]);
      _mm256_store_ps(edge + 8, sum1[i]);
      for (int j = 0; j < n; ++j) row[j] = accumulate ? row[j] + edge[j] : edge[j];
    }
  }
}

using PanelFunction = void (*)(const float*, const float*, int, int, float*, std::int64_t, bool);
constexpr PanelFunction kPanels[kRows] = {Panel<1>, Panel<2>, Panel<3>, Panel<4>, Panel<5>, Panel<6>};

void Multiply(const float* a, const float* b, int m, int n, int k, float* c, std::int64_t c_stride,
              bool accumulate) {
  for (int i = 0; i < m; i += kRows) {
    const int rows = m - i < kRows ? m - i : kRows;
    for (int j = 0; j < n; j += kColumns) {
      kPanels[rows - 1](a, b + static_cast<std::int64_t>(j) * k, n - j, k, c + j, c_stride, accumulate);
    }
    a += rows * k;
    c += rows * c_stride;
  }
}

void PackTransposed(const float* const* source, int count, int k, int width, float* packed) {
  for (int l = 0; l < k;
       l += 8) {  // eight columns of depth at a time keeps both sides in the first-level cache
    const int depth = k - l < 8 ? k - l : 8;
    for (int i = 0; i < width; ++i) {
      for (int d = 0; d < depth; ++d) packed[(l + d) * width + i] = i < count ? source[i][l + d] : 0.0f;
    }
  }
}

void PackStraight(const float* const* source, int count, int k, int width, float* packed) {
  for (int l = 0; l < k; ++l, packed += width) {
    for (int i = 0; i < count; ++i) packed[i] = source[l][i];
    for (int i = count; i < width; ++i) packed[i] = 0.0f;
  }
}

}  // namespace

const MatmulKernel kMatmulKernelAvx2 = {kRows, kColumns, PackTransposed, PackStraight, Multiply};

}  // namespace retort::student
