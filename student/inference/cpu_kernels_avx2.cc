// Kernels for AVX2 and FMA: a tile is two vectors of 8 rows.
#include <immintrin.h>

#include <cstring>

#include "student/inference/internal/isa_tables.h"

namespace retort::student {
namespace {

#include "student/inference/internal/row_kernels.inc"

inline __m256i LoadBytes(const uint8_t* at) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}

template <int rows>
inline __attribute__((always_inline)) void AddPair(__m256i (&sums)[2][rows], __m256i low, __m256i high,
                                                   const int16_t* q) {
#pragma GCC unroll 4
  for (int m = 0; m < rows; ++m) {
    int32_t two;
    std::memcpy(&two, q + 2 * m, sizeof(two));
    const __m256i pair = _mm256_set1_epi32(two);
    sums[0][m] = _mm256_add_epi32(sums[0][m], _mm256_madd_epi16(low, pair));
    sums[1][m] = _mm256_add_epi32(sums[1][m], _mm256_madd_epi16(high, pair));
  }
}

template <Packing packing, int rows>
inline __attribute__((always_inline)) void BlockSums(__m256i (&sums)[2][rows], const uint8_t* block,
                                                     const int16_t* q) {
  if constexpr (packing == Packing::kNibbles) {
    const __m256i mask = _mm256_set1_epi16(15);
    for (int j = 0; j < 4; ++j) {
      __m256i low = LoadBytes(block + 64 * j), high = LoadBytes(block + 64 * j + 32);
#pragma GCC unroll 4
      for (int step = 0; step < 4; ++step) {
        AddPair<rows>(sums, _mm256_and_si256(low, mask), _mm256_and_si256(high, mask),
                      q + (4 * j + step) * 2 * kGroupRows);
        low = _mm256_srli_epi16(low, 4);
        high = _mm256_srli_epi16(high, 4);
      }
    }
  } else {
    for (int pair = 0; pair < 16; ++pair) {
      const __m256i bytes = LoadBytes(block + 32 * pair);
      AddPair<rows>(sums, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(bytes)),
                    _mm256_cvtepi8_epi16(_mm256_extracti128_si256(bytes, 1)), q + pair * 2 * kGroupRows);
    }
  }
}

template <Packing packing, int rows>
void IntegerGroup(const PackedView& w, const ActivationView& x, int32_t first_row, int32_t tile, float* y,
                  size_t y_stride) {
  constexpr size_t kBlockBytes = packing == Packing::kNibbles ? 256 : 512;
  const size_t tile_blocks = w.blocks;
  // Four rows at most, so they lie in one group.
  const size_t first_block = first_row / kGroupRows * tile_blocks, slot = first_row % kGroupRows;
  __m256 totals[2][rows];
  for (int m = 0; m < rows; ++m) totals[0][m] = totals[1][m] = _mm256_setzero_ps();
  for (size_t b = 0; b < tile_blocks; ++b) {
    const size_t at = static_cast<size_t>(tile) * tile_blocks + b;
    __m256i sums[2][rows];
#pragma GCC unroll 4
    for (int m = 0; m < rows; ++m) sums[0][m] = sums[1][m] = _mm256_setzero_si256();
    BlockSums<packing, rows>(sums, w.weights + at * kBlockBytes,
                             x.quantised + (first_block + b) * kBlockColumns * kGroupRows + 2 * slot);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m256 scale = _mm256_loadu_ps(w.scales + at * kTileRows + 8 * half);
#pragma GCC unroll 4
      for (int m = 0; m < rows; ++m) {
        const size_t x_at = (first_block + b) * kGroupRows + slot + m;
        const __m256 scaled =
            _mm256_mul_ps(_mm256_cvtepi32_ps(sums[half][m]), _mm256_set1_ps(x.scales[x_at]));
        totals[half][m] = _mm256_fmadd_ps(scaled, scale, totals[half][m]);
        if constexpr (packing == Packing::kNibbles) {
          const __m256 offset = _mm256_loadu_ps(w.offsets + at * kTileRows + 8 * half);
          totals[half][m] = _mm256_fmadd_ps(offset, _mm256_set1_ps(x.sums[x_at]), totals[half][m]);
        }
      }
    }
  }
  for (int m = 0; m < rows; ++m) {
    float* out = y + (first_row + m) * y_stride + tile * kTileRows;
    _mm256_storeu_ps(out, totals[0][m]);
    _mm256_storeu_ps(out + 8, totals[1][m]);
  }
}

template <int rows>
void FloatGroup(const PackedView& w, const ActivationView& x, int32_t first_row, int32_t tile, float* y,
                size_t y_stride) {
  const size_t columns = x.columns;
  const float* weights = w.floats + static_cast<size_t>(tile) * columns * kTileRows;
  __m256 totals[2][rows];
#pragma GCC unroll 4
  for (int m = 0; m < rows; ++m) totals[0][m] = totals[1][m] = _mm256_setzero_ps();
  for (size_t k = 0; k < columns; ++k) {
    const __m256 low = _mm256_loadu_ps(weights + k * kTileRows),
                 high = _mm256_loadu_ps(weights + k * kTileRows + 8);
#pragma GCC unroll 4
    for (int m = 0; m < rows; ++m) {
      const __m256 value = _mm256_set1_ps(x.values[(first_row + m) * columns + k]);
      totals[0][m] = _mm256_fmadd_ps(low, value, totals[0][m]);
      totals[1][m] = _mm256_fmadd_ps(high, value, totals[1][m]);
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < rows; ++m) {
    float* out = y + (first_row + m) * y_stride + tile * kTileRows;
    _mm256_storeu_ps(out, totals[0][m]);
    _mm256_storeu_ps(out + 8, totals[1][m]);
  }
}

template <int rows>
void Group(const PackedView& w, const ActivationView& x, int32_t first_row, int32_t tile, float* y,
           size_t y_stride) {
  switch (w.packing) {
    case Packing::kNibbles:
      IntegerGroup<Packing::kNibbles, rows>(w, x, first_row, tile, y, y_stride);
      break;
    case Packing::kBytes:
      IntegerGroup<Packing::kBytes, rows>(w, x, first_row, tile, y, y_stride);
      break;
    case Packing::kFloats:
      FloatGroup<rows>(w, x, first_row, tile, y, y_stride);
      break;
  }
}

void Multiply(const PackedView& w, const ActivationView& x, int32_t tile_begin, int32_t tile_end, float* y,
              size_t y_stride) {
  for (int32_t tile = tile_begin; tile < tile_end; ++tile) {
    int32_t m = 0;
    for (; m + 4 <= x.rows; m += 4) Group<4>(w, x, m, tile, y, y_stride);
    switch (x.rows - m) {
      case 1:
        Group<1>(w, x, m, tile, y, y_stride);
        break;
      case 2:
        Group<2>(w, x, m, tile, y, y_stride);
        break;
      case 3:
        Group<3>(w, x, m, tile, y, y_stride);
        break;
      default:
        break;
    }
  }
}

}  // namespace

const CpuKernels& Avx2Kernels() {
  static constexpr CpuKernels kKernels = MakeKernels("avx2", Multiply);
  return kKernels;
}

}  // namespace retort::student
