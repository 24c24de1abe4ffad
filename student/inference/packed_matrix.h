// A weight matrix [rows, columns] repacked for products with a few activation rows at a time, and those
// products.
//
// y[m, n] = sum_k x[m, k] * w[n, k]. The activations are rounded to 16-bit integers, one scale per block of
// 32: an error of at most max|block| / 65534 per element, far below that of the weights' own quantisation.
// Within a block the integer products are exact; the block's value is then scaled and added in fp32, blocks
// in ascending order. So a row's result depends on that row and the weights alone, and every instruction set
// gives the same bits.
//
// Weights keep the precision of the file: 4-bit types (Q4_0, Q4_1, Q4_K) as unsigned nibbles with a scale and
// an offset per block, 8-bit types (Q5_0, Q8_0) as signed bytes with a scale per block, all others (F32, F16,
// BF16, Q6_K) as fp32, whose products stay in fp32.
#ifndef STUDENT_INFERENCE_PACKED_MATRIX_H_
#define STUDENT_INFERENCE_PACKED_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "student/formats/gguf.h"
#include "student/inference/cpu_kernels.h"

namespace retort::student {

// Activation rows ready for products with packed weights. Rows may be set by different threads.
class Activations {
 public:
  // Room for `rows_max` rows of `columns`, a multiple of 32 (asserted).
  Activations(int32_t rows_max, int32_t columns);

  // Copies row m, [columns] finite fp32, and rounds it.
  void Set(int32_t m, const float* values, const CpuKernels& kernels);

  // At least the number of rows that was asked for.
  int32_t rows_max() const { return rows_max_; }
  int32_t columns() const { return columns_; }
  ActivationView View(int32_t rows) const;

 private:
  int32_t rows_max_;
  int32_t columns_;
  std::vector<float> values_;  // layouts as in ActivationView
  std::vector<int16_t> quantised_;
  std::vector<float> scales_;
  std::vector<float> sums_;
};

class PackedMatrix {
 public:
  PackedMatrix() = default;

  // Packs matrices of the same row length below one another. InvalidArgument, naming the tensor: row lengths
  // that differ or are not a multiple of 32, or a scale or weight that is not finite. At least one tensor
  // (asserted).
  static absl::StatusOr<PackedMatrix> Pack(std::span<const GgufTensor* const> tensors);

  int32_t rows() const { return rows_; }
  int32_t columns() const { return columns_; }
  // Groups of kTileRows rows; the last may be partly padding.
  int32_t tiles() const { return (rows_ + kTileRows - 1) / kTileRows; }
  Packing packing() const { return packing_; }
  // Bytes that one pass over the matrix reads.
  uint64_t bytes() const;

  // Writes y[m, n] for the first `x.rows` activation rows and the matrix rows n of tiles [tile_begin,
  // tile_end); y is row-major with `y_stride` floats per row, y_stride >= tiles() * kTileRows: rows of
  // padding are written too, as zeros. Tiles may be shared out to threads freely. x.columns must equal
  // columns() (asserted).
  void Multiply(const ActivationView& x, int32_t tile_begin, int32_t tile_end, float* y, size_t y_stride,
                const CpuKernels& kernels) const;

 private:
  absl::Status PackNibbles(const GgufTensor& tensor, int32_t row_offset);
  absl::Status PackBytes(const GgufTensor& tensor, int32_t row_offset);
  absl::Status PackFloats(const GgufTensor& tensor, int32_t row_offset);

  int32_t rows_ = 0;
  int32_t columns_ = 0;
  Packing packing_ = Packing::kFloats;
  std::vector<uint8_t> weights_;
  std::vector<float> floats_;   // [tiles, columns, 16] when packing is kFloats
  std::vector<float> scales_;   // [tiles, blocks, 16] otherwise
  std::vector<float> offsets_;  // [tiles, blocks, 16] for nibbles
};

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_PACKED_MATRIX_H_
