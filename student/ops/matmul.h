// Matrix products C = A*B or C += A*B in fp32, many at once.
//
// Every linear layer, expert and attention block comes down to these. All products of one call share one list
// of tiles, so sixteen small experts keep the threads as busy as one large matrix.
//
// Repeatable: a tile's values do not depend on threads. In the fast paths the value of one element depends
// only on its row of A, its column of B and the depth k: the products are fused-multiply-added in order of
// depth within blocks of kMatmulDepth, and the block sums are added in order. So a token's result is the same
// alone or in a batch, and the AVX2 and AVX-512 paths agree bit for bit. The plain path multiplies and adds
// in order, without blocks and fusion.
#ifndef STUDENT_OPS_MATMUL_H_
#define STUDENT_OPS_MATMUL_H_

#include <cstdint>
#include <span>

#include "student/tensor/buffer.h"
#include "student/tensor/compute.h"

namespace retort::student {

inline constexpr int kMatmulDepth = 256;

// A matrix as it lies in memory: rows of contiguous floats, `stride` apart. With `rows`, row r is found at
// values + rows[r] * stride (a gather, e.g. the tokens of one expert).
struct MatrixView {
  const float* values = nullptr;
  std::int64_t stride = 0;
  const std::int32_t* rows = nullptr;

  const float* row(std::int64_t r) const { return values + (rows == nullptr ? r : rows[r]) * stride; }
};

struct MatrixProduct {
  MatrixView a;        // [m, k], or [k, m] if transpose_a
  MatrixView b;        // [k, n], or [n, k] if transpose_b
  float* c = nullptr;  // [m, n], rows c_stride apart; overlaps neither a, b nor another product's c
  std::int64_t c_stride = 0;
  int m = 0, n = 0, k = 0;  // any may be 0; k = 0 makes C zero, or leaves it if accumulate
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  // C += A*B instead of C = A*B
};

// y[rows, out] = x[rows, in] * w[out, in]^T: a linear layer.
MatrixProduct LinearForward(MatrixView x, MatrixView w, float* y, std::int64_t y_stride, int rows, int in,
                            int out);
// dx[rows, in] = dy[rows, out] * w[out, in]; with accumulate, +=.
MatrixProduct LinearBackwardInput(MatrixView dy, MatrixView w, float* dx, std::int64_t dx_stride, int rows,
                                  int in, int out, bool accumulate);
// dw[out, in] += dy[rows, out]^T * x[rows, in], rows in order.
MatrixProduct LinearBackwardWeight(MatrixView dy, MatrixView x, float* dw, std::int64_t dw_stride, int rows,
                                   int in, int out);

// Computes all products; they must be independent of one another.
void MatMul(const Compute& compute, std::span<const MatrixProduct> products);
inline void MatMul(const Compute& compute, const MatrixProduct& product) {
  MatMul(compute, std::span(&product, 1));
}

// One product on the calling thread, for use inside a task. Same bits as MatMul. scratch belongs to the
// caller's worker.
void MultiplyHere(Isa isa, const MatrixProduct& product, Buffer* scratch);

// The truth: three loops, any real type. Operands are given element by element through strides:
// A(i, l) = a[i * a_row + l * a_column], B(l, j) = b[l * b_row + j * b_column].
template <typename Real>
void MatMulPlain(const Real* a, std::int64_t a_row, std::int64_t a_column, const Real* b, std::int64_t b_row,
                 std::int64_t b_column, Real* c, std::int64_t c_stride, int m, int n, int k,
                 bool accumulate) {
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      Real sum = 0;
      for (int l = 0; l < k; ++l) sum += a[i * a_row + l * a_column] * b[l * b_row + j * b_column];
      c[i * c_stride + j] = accumulate ? c[i * c_stride + j] + sum : sum;
    }
  }
}

}  // namespace retort::student

#endif  // STUDENT_OPS_MATMUL_H_
