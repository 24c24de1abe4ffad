// The inner part of the fast matrix product, one implementation per instruction set. Operands are first
// packed into the order the inner loop reads them:
//   A block [m, k]: panels of `panel_rows` rows (the last may have fewer), each [k][rows of the panel];
//   B block [k, n]: panels of `panel_columns` columns (the last padded with zeros), each [k][panel_columns].
// k is at most kMatmulDepth per block. Implementation files include no header with inline code of the
// standard library: the linker could otherwise pick their copy of it, compiled for this instruction set, for
// the whole program.
#ifndef STUDENT_OPS_MATMUL_KERNEL_H_
#define STUDENT_OPS_MATMUL_KERNEL_H_

#include <cstdint>

#include "student/tensor/isa.h"

namespace retort::student {

struct MatrixView;

struct MatmulKernel {
  int panel_rows;
  int panel_columns;
  // source points at `count` row pointers, each to `k` contiguous values: packed[l * width + i] =
  // source[i][l] for i < count, 0 for count <= i < width. count <= width, and width is panel_columns, or
  // count for an A panel.
  void (*pack_transposed)(const float* const* source, int count, int k, int width, float* packed);
  // source points at `k` row pointers: packed[l * width + i] = source[l][i] for i < count, 0 beyond.
  void (*pack_straight)(const float* const* source, int count, int k, int width, float* packed);
  // C[m, n] = A * B, or += if accumulate, with packed operands.
  void (*multiply)(const float* a, const float* b, int m, int n, int k, float* c, std::int64_t c_stride,
                   bool accumulate);
};

// The kernel of an instruction set; null for Isa::kPlain. Defined in matmul.cc, as are the two below.
const MatmulKernel* MatmulKernelOf(Isa isa);
// Packs rows [first, first + rows) of A at depth [depth, depth + k) into rows * k floats. A is `a`, or its
// transpose.
void PackA(const MatmulKernel& kernel, const MatrixView& a, bool transpose, int first, int rows, int depth,
           int k, float* packed);
// Packs columns [first, first + columns) of B at depth [depth, depth + k) into k floats for each column,
// their number rounded up to whole panels. first is a multiple of panel_columns. packed is 64-byte aligned.
void PackB(const MatmulKernel& kernel, const MatrixView& b, bool transpose, int first, int columns, int depth,
           int k, float* packed);

#if defined(__x86_64__)
extern const MatmulKernel kMatmulKernelAvx2;
extern const MatmulKernel kMatmulKernelAvx512;
#endif

}  // namespace retort::student

#endif  // STUDENT_OPS_MATMUL_KERNEL_H_
