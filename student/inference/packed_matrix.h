// A weight matrix [rows, columns] repacked for products with a few activation rows at a time, and those products.
//
// y[m, n] = sum_k x[m, k] * w[n, k]. The activations are rounded to 16-bit integers, one scale per block of 32: an error
// of at most max|block| / 65534 per element, far below that of the weights' own quantisation. Within a block the
// integer products are exact; the block's value is then scaled and added in fp32, blocks in ascending order. So a row's
// result depends on that row and the weights alone, and every implementation gives the same bits.
//
// Weights keep the precision of the file: 4-bit types (Q4_0, Q4_1, Q4_K) as unsigned nibbles with a scale and an offset per
// block, 8-bit types (Q5_0, Q8_0) as signed bytes with a scale per block, all others (F32, F16, BF16, Q6_K) as fp32, whose
// products stay in fp32.
#ifndef STUDENT_INFERENCE_PACKED_MATRIX_H_
#define STUDENT_INFERENCE_PACKED_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "student/formats/gguf.h"

namespace retort::student {

// Rows are packed in tiles of 16: lane i of a vector belongs to row 16 * tile + i. Rows beyond the matrix are zero.
inline constexpr int32_t kTileRows = 16;
// Columns per scale.
inline constexpr int32_t kBlockColumns = 32;

enum class Packing { kNibbles, kBytes, kFloats };

// Which instructions the products use. All give the same bits.
enum class MatmulIsa { kPlain, kAvx2, kAvx512, kAvx512Vnni };
// The best that this CPU has.
MatmulIsa BestMatmulIsa();
bool IsSupported(MatmulIsa isa);
std::string_view MatmulIsaName(MatmulIsa isa);

// Activation rows ready for products: 16-bit blocks for quantised weights, and the fp32 values.
struct Activations {
  int32_t rows = 0;
  int32_t columns = 0;
  std::span<const float> values;    // [rows, columns], kept by the caller
  std::vector<int16_t> quantised;   // [rows, columns]
  std::vector<float> scales;        // [rows, columns / 32]
  std::vector<float> sums;          // [rows, columns / 32] scale * sum of the block's integers
};

class PackedMatrix {
 public:
  PackedMatrix() = default;

  // Packs matrices of the same row length below one another. InvalidArgument: no matrix, row lengths that differ or are
  // not a multiple of 32, or a non-finite scale or weight.
  static absl::StatusOr<PackedMatrix> Pack(std::span<const GgufTensor* const> tensors);

  int32_t rows() const { return rows_; }
  int32_t columns() const { return columns_; }
  int32_t tiles() const { return (rows_ + kTileRows - 1) / kTileRows; }
  Packing packing() const { return packing_; }
  uint64_t bytes() const;

  // Writes y[m, n] for every activation row m and the rows n of tiles [tile_begin, tile_end); y is row-major with
  // `y_stride` floats per row. x.columns must equal columns(). Overwrites. Tiles may be shared out to threads freely.
  void Multiply(const Activations& x, int32_t tile_begin, int32_t tile_end, float* y, size_t y_stride,
                MatmulIsa isa) const;

 private:
  int32_t rows_ = 0;
  int32_t columns_ = 0;
  Packing packing_ = Packing::kFloats;
  std::vector<uint8_t> weights_;  // [tiles, blocks, 32 columns of 16 lanes]
  std::vector<float> scales_;     // [tiles, blocks, 16 lanes]
  std::vector<float> offsets_;    // [tiles, blocks, 16 lanes]; nibbles only
};

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_PACKED_MATRIX_H_
