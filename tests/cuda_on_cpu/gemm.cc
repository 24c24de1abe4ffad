#include "tests/cuda_on_cpu/gemm.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "cuda_bf16.h"

namespace retort::cuda_on_cpu {
namespace {

constexpr int kRows = 16;             // of a tile of C: one vector
constexpr int kColumns = 6;           // of a tile of C
constexpr std::int64_t kDepth = 512;  // of a packed panel; the sum goes on in C's fp32 image between panels

typedef float Vector __attribute__((vector_size(kRows * sizeof(float))));

float Round(float x, Rounding rounding) {
  if (rounding == Rounding::kNone) return x;
  if (rounding == Rounding::kBf16) return __bfloat162float(__float2bfloat16_rn(x));
  const auto bits = std::bit_cast<std::uint32_t>(x);  // tf32: ten bits of mantissa, ties away from zero
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  return std::bit_cast<float>((bits + 0x1000u) & 0xffffe000u);
}

float Load(const void* data, Number number, std::int64_t at) {
  if (number == Number::kF32) return static_cast<const float*>(data)[at];
  return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[at]);
}

void Store(void* data, Number number, std::int64_t at, float value) {
  if (number == Number::kF32) {
    static_cast<float*>(data)[at] = value;
  } else {
    static_cast<__nv_bfloat16*>(data)[at] = __float2bfloat16_rn(value);
  }
}

// Strips of `width` rows of op(A) (or columns of op(B)), each [depth][width], zeros beyond the edge. `outer`
// runs along the strip's width and `inner` along k.
void Pack(const Matrix& matrix, Rounding rounding, std::int64_t outer_size, std::int64_t k0,
          std::int64_t depth, int width, std::int64_t outer_step, std::int64_t inner_step, float* packed) {
  for (std::int64_t first = 0; first < outer_size; first += width) {
    const std::int64_t count = std::min<std::int64_t>(width, outer_size - first);
    for (std::int64_t k = 0; k < depth; ++k) {
      for (std::int64_t i = 0; i < width; ++i) {
        const std::int64_t at = (first + i) * outer_step + (k0 + k) * inner_step;
        *packed++ = i < count ? Round(Load(matrix.data, matrix.number, at), rounding) : 0.0f;
      }
    }
  }
}

// sums[column][row] += a strip times b strip.
__attribute__((always_inline)) inline void TileBody(const float* a, const float* b, std::int64_t depth,
                                                    float* sums) {
  Vector sum[kColumns];
  std::memcpy(sum, sums, sizeof(sum));
  for (std::int64_t k = 0; k < depth; ++k) {
    Vector column;
    std::memcpy(&column, a + k * kRows, sizeof(column));
    for (int j = 0; j < kColumns; ++j) sum[j] += column * b[k * kColumns + j];
  }
  std::memcpy(sums, sum, sizeof(sum));
}

using Tile = void (*)(const float*, const float*, std::int64_t, float*);
void PlainTile(const float* a, const float* b, std::int64_t depth, float* sums) {
  TileBody(a, b, depth, sums);
}
#if defined(__x86_64__)
// The same operations in the same order, only wider: the same bits.
__attribute__((target("avx2"))) void Avx2Tile(const float* a, const float* b, std::int64_t depth,
                                              float* sums) {
  TileBody(a, b, depth, sums);
}
__attribute__((target("avx512f"))) void Avx512Tile(const float* a, const float* b, std::int64_t depth,
                                                   float* sums) {
  TileBody(a, b, depth, sums);
}
#endif

Tile ChooseTile() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return Avx512Tile;
  if (__builtin_cpu_supports("avx2")) return Avx2Tile;
#endif
  return PlainTile;
}

std::int64_t Strips(std::int64_t size, int width) {
  return (size + width - 1) / width;
}

}  // namespace

void RunGemm(const Gemm& gemm) {
  static const Tile tile = ChooseTile();
  if (gemm.m == 0 || gemm.n == 0) return;
  const std::int64_t row_strips = Strips(gemm.m, kRows), column_strips = Strips(gemm.n, kColumns);
  constexpr std::size_t kTile = static_cast<std::size_t>(kRows) * kColumns;
  std::vector<float> sums(static_cast<std::size_t>(row_strips * column_strips) * kTile, 0.0f);
  const std::int64_t k_size = gemm.alpha == 0.0f ? 0 : gemm.k;
  std::vector<float> a(static_cast<std::size_t>(row_strips) * kRows * kDepth);
  std::vector<float> b(static_cast<std::size_t>(column_strips) * kColumns * kDepth);
  for (std::int64_t k0 = 0; k0 < k_size; k0 += kDepth) {
    const std::int64_t depth = std::min(kDepth, k_size - k0);
    // op(A)[i, k] is A[i + k * lda], or A[k + i * lda] when transposed; op(B)[k, j] likewise.
    Pack(gemm.a, gemm.rounding, gemm.m, k0, depth, kRows, gemm.a.transposed ? gemm.a.leading : 1,
         gemm.a.transposed ? 1 : gemm.a.leading, a.data());
    Pack(gemm.b, gemm.rounding, gemm.n, k0, depth, kColumns, gemm.b.transposed ? 1 : gemm.b.leading,
         gemm.b.transposed ? gemm.b.leading : 1, b.data());
    for (std::int64_t column = 0; column < column_strips; ++column) {
      for (std::int64_t row = 0; row < row_strips; ++row) {
        tile(a.data() + row * depth * kRows, b.data() + column * depth * kColumns, depth,
             sums.data() + static_cast<std::size_t>(column * row_strips + row) * kTile);
      }
    }
  }
  for (std::int64_t j = 0; j < gemm.n; ++j) {
    for (std::int64_t i = 0; i < gemm.m; ++i) {
      const std::size_t strip = static_cast<std::size_t>(j / kColumns * row_strips + i / kRows);
      float value =
          gemm.alpha * sums[strip * kTile + static_cast<std::size_t>(j % kColumns * kRows + i % kRows)];
      const std::int64_t at = i + j * gemm.c_leading;
      if (gemm.beta != 0.0f) value += gemm.beta * Load(gemm.c, gemm.c_number, at);
      Store(gemm.c, gemm.c_number, at, value);
    }
  }
}

}  // namespace retort::cuda_on_cpu
