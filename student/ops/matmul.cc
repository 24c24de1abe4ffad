#include "student/ops/matmul.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "student/ops/matmul_kernel.h"

namespace retort::student {
namespace {

std::int64_t RoundUp(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

void ClearOutput(const MatrixProduct& product) {
  if (product.accumulate) return;
  for (int i = 0; i < product.m; ++i) std::fill_n(product.c + i * product.c_stride, product.n, 0.0f);
}

void MultiplyPlain(const MatrixProduct& product, int row, int rows, int column, int columns) {
  for (int i = row; i < row + rows; ++i) {
    for (int j = column; j < column + columns; ++j) {
      float sum = 0;
      for (int l = 0; l < product.k; ++l) {
        const float a = product.transpose_a ? product.a.row(l)[i] : product.a.row(i)[l];
        const float b = product.transpose_b ? product.b.row(j)[l] : product.b.row(l)[j];
        sum += a * b;
      }
      float& c = product.c[i * product.c_stride + j];
      c = product.accumulate ? c + sum : sum;
    }
  }
}

struct TileShape {
  int rows, columns;
};

std::int64_t CountTiles(std::span<const MatrixProduct> products, TileShape shape) {
  std::int64_t tiles = 0;
  for (const MatrixProduct& product : products) {
    tiles +=
        RoundUp(product.m, shape.rows) / shape.rows * (RoundUp(product.n, shape.columns) / shape.columns);
  }
  return tiles;
}

// Large tiles pack less per multiplication; but there must be enough of them to share out evenly. Both are
// multiples of the panels of every kernel (14 or 6 rows, 32 or 16 columns) as far as that matters.
TileShape ChooseTiles(std::span<const MatrixProduct> products) {
  constexpr std::int64_t kEnough = 24;
  constexpr TileShape kShapes[] = {{168, 256}, {84, 256}, {84, 128}, {42, 128}, {42, 64}};
  for (const TileShape& shape : kShapes) {
    if (CountTiles(products, shape) >= kEnough) return shape;
  }
  return kShapes[4];
}

struct Tile {
  int product, row, column;
};

}  // namespace

const MatmulKernel* MatmulKernelOf(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return &kMatmulKernelAvx512;
  if (isa == Isa::kAvx2) return &kMatmulKernelAvx2;
#endif
  assert(isa == Isa::kPlain);
  return nullptr;
}

void PackA(const MatmulKernel& kernel, const MatrixView& a, bool transpose, int first, int rows, int depth,
           int k, float* packed) {
  const float* source[kMatmulDepth];
  for (int i = 0; i < rows; i += kernel.panel_rows) {
    const int count = std::min(kernel.panel_rows, rows - i);
    if (transpose) {
      for (int l = 0; l < k; ++l) source[l] = a.row(depth + l) + first + i;
      kernel.pack_straight(source, count, k, count, packed);
    } else {
      for (int r = 0; r < count; ++r) source[r] = a.row(first + i + r) + depth;
      kernel.pack_transposed(source, count, k, count, packed);
    }
    packed += static_cast<std::int64_t>(count) * k;
  }
}

void PackB(const MatmulKernel& kernel, const MatrixView& b, bool transpose, int first, int columns, int depth,
           int k, float* packed) {
  const float* source[kMatmulDepth];
  const int width = kernel.panel_columns;
  for (int j = 0; j < columns; j += width) {
    const int count = std::min(width, columns - j);
    if (transpose) {
      for (int c = 0; c < count; ++c) source[c] = b.row(first + j + c) + depth;
      kernel.pack_transposed(source, count, k, width, packed);
    } else {
      for (int l = 0; l < k; ++l) source[l] = b.row(depth + l) + first + j;
      kernel.pack_straight(source, count, k, width, packed);
    }
    packed += static_cast<std::int64_t>(width) * k;
  }
}

MatrixProduct LinearForward(MatrixView x, MatrixView w, float* y, std::int64_t y_stride, int rows, int in,
                            int out) {
  return {.a = x, .b = w, .c = y, .c_stride = y_stride, .m = rows, .n = out, .k = in, .transpose_b = true};
}

MatrixProduct LinearBackwardInput(MatrixView dy, MatrixView w, float* dx, std::int64_t dx_stride, int rows,
                                  int in, int out, bool accumulate) {
  return {.a = dy,
          .b = w,
          .c = dx,
          .c_stride = dx_stride,
          .m = rows,
          .n = in,
          .k = out,
          .accumulate = accumulate};
}

MatrixProduct LinearBackwardWeight(MatrixView dy, MatrixView x, float* dw, std::int64_t dw_stride, int rows,
                                   int in, int out) {
  return {.a = dy,
          .b = x,
          .c = dw,
          .c_stride = dw_stride,
          .m = out,
          .n = in,
          .k = rows,
          .transpose_a = true,
          .accumulate = true};
}

void MatMul(const Compute& compute, std::span<const MatrixProduct> products) {
  const MatmulKernel* kernel = MatmulKernelOf(compute.isa);
  const TileShape shape = ChooseTiles(products);
  std::vector<Tile> tiles;
  tiles.reserve(CountTiles(products, shape));
  for (std::size_t p = 0; p < products.size(); ++p) {
    if (products[p].k == 0) ClearOutput(products[p]);
    if (products[p].k == 0) continue;
    for (int row = 0; row < products[p].m; row += shape.rows) {
      for (int column = 0; column < products[p].n; column += shape.columns) {
        tiles.push_back({static_cast<int>(p), row, column});
      }
    }
  }
  if (kernel == nullptr) {
    compute.pool->Run(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t t, int) {
      const MatrixProduct& product = products[tiles[t].product];
      MultiplyPlain(product, tiles[t].row, std::min(shape.rows, product.m - tiles[t].row), tiles[t].column,
                    std::min(shape.columns, product.n - tiles[t].column));
    });
    return;
  }

  // First all of B is packed, once, by everybody; then every tile packs its own part of A.
  struct Pack {
    int product, column, depth;
  };
  std::vector<Pack> packs;
  std::vector<std::int64_t> start(products.size());
  std::int64_t packed_size = 0;
  constexpr int kPackColumns = 128;
  for (std::size_t p = 0; p < products.size(); ++p) {
    const MatrixProduct& product = products[p];
    start[p] = packed_size;
    if (product.m == 0) continue;
    packed_size += RoundUp(product.n, kernel->panel_columns) * product.k;
    for (int depth = 0; depth < product.k; depth += kMatmulDepth) {
      for (int column = 0; column < product.n; column += kPackColumns)
        packs.push_back({static_cast<int>(p), column, depth});
    }
  }
  float* const packed = compute.scratch->packed.Reserve(packed_size);
  // The packed B of product p at a depth block and column, both multiples of their block sizes.
  const auto packed_b = [&](int p, int depth, int column) {
    const int k = std::min(kMatmulDepth, products[p].k - depth);
    return packed + start[p] + depth * RoundUp(products[p].n, kernel->panel_columns) +
           static_cast<std::int64_t>(column) * k;
  };
  compute.pool->Run(static_cast<std::int64_t>(packs.size()), [&](std::int64_t i, int) {
    const auto [p, column, depth] = packs[i];
    PackB(*kernel, products[p].b, products[p].transpose_b, column,
          std::min(kPackColumns, products[p].n - column), depth,
          std::min(kMatmulDepth, products[p].k - depth), packed_b(p, depth, column));
  });
  compute.pool->Run(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t t, int worker) {
    const auto [p, row, column] = tiles[t];
    const MatrixProduct& product = products[p];
    const int rows = std::min(shape.rows, product.m - row),
              columns = std::min(shape.columns, product.n - column);
    float* const packed_a =
        compute.scratch->worker[worker].Reserve(static_cast<std::int64_t>(shape.rows) * kMatmulDepth);
    for (int depth = 0; depth < product.k; depth += kMatmulDepth) {
      const int k = std::min(kMatmulDepth, product.k - depth);
      PackA(*kernel, product.a, product.transpose_a, row, rows, depth, k, packed_a);
      kernel->multiply(packed_a, packed_b(p, depth, column), rows, columns, k,
                       product.c + row * product.c_stride + column, product.c_stride,
                       product.accumulate || depth > 0);
    }
  });
}

void MultiplyHere(Isa isa, const MatrixProduct& product, Buffer* scratch) {
  if (product.k == 0) return ClearOutput(product);
  const MatmulKernel* kernel = MatmulKernelOf(isa);
  if (kernel == nullptr) return MultiplyPlain(product, 0, product.m, 0, product.n);
  constexpr int kRows = 168, kColumns = 256;
  float* const packed_a = scratch->Reserve((kRows + kColumns) * kMatmulDepth);
  float* const packed_b = packed_a + kRows * kMatmulDepth;
  for (int column = 0; column < product.n; column += kColumns) {
    const int columns = std::min(kColumns, product.n - column);
    for (int depth = 0; depth < product.k; depth += kMatmulDepth) {
      const int k = std::min(kMatmulDepth, product.k - depth);
      PackB(*kernel, product.b, product.transpose_b, column, columns, depth, k, packed_b);
      for (int row = 0; row < product.m; row += kRows) {
        const int rows = std::min(kRows, product.m - row);
        PackA(*kernel, product.a, product.transpose_a, row, rows, depth, k, packed_a);
        kernel->multiply(packed_a, packed_b, rows, columns, k, product.c + row * product.c_stride + column,
                         product.c_stride, product.accumulate || depth > 0);
      }
    }
  }
}

}  // namespace retort::student
