#include "student/inference/packed_matrix.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <string>

namespace retort::student {
namespace {

constexpr size_t kNibbleBlockBytes = 256;
constexpr size_t kByteBlockBytes = 512;

absl::Status Refuse(const GgufTensor& tensor, const std::string& seen, const std::string& wanted) {
  return absl::InvalidArgumentError("GGUF tensor '" + std::string(tensor.name) + "' " + seen + "; wanted " +
                                    wanted);
}

Packing PackingOf(GgufType type) {
  switch (type) {
    case GgufType::kQ4_0:
    case GgufType::kQ4_1:
    case GgufType::kQ4_K:
      return Packing::kNibbles;
    case GgufType::kQ5_0:
    case GgufType::kQ8_0:
      return Packing::kBytes;
    case GgufType::kF32:
    case GgufType::kF16:
    case GgufType::kBF16:
    case GgufType::kQ6_K:
      return Packing::kFloats;
  }
  return Packing::kFloats;
}

float HalfAt(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return HalfToFloat(bits);
}

// 32 weights of one row: value = scale * q + offset.
struct Block {
  std::array<int8_t, kBlockColumns> q;
  float scale;
  float offset;
};

// The first 16 columns are in the low nibbles of 16 bytes, the others in the high ones.
void SplitNibbles(const uint8_t* qs, Block& block) {
  for (int j = 0; j < 16; ++j) {
    block.q[j] = static_cast<int8_t>(qs[j] & 15);
    block.q[j + 16] = static_cast<int8_t>(qs[j] >> 4);
  }
}

// Sub-block `index` (0 to 7) of a Q4_K block; formulas in docs/formats/gguf.md.
Block ReadQ4K(const uint8_t* at, int index) {
  const uint8_t* b = at + 4;
  const int scale = index < 4 ? b[index] & 63 : (b[index + 4] & 15) | (b[index - 4] >> 6 << 4);
  const int minimum = index < 4 ? b[index + 4] & 63 : (b[index + 4] >> 4) | (b[index] >> 6 << 4);
  Block block;
  block.scale = HalfAt(at) * static_cast<float>(scale);
  block.offset = -(HalfAt(at + 2) * static_cast<float>(minimum));
  const uint8_t* qs = at + 16 + 32 * (index / 2);
  for (int j = 0; j < kBlockColumns; ++j)
    block.q[j] = static_cast<int8_t>(index % 2 == 0 ? qs[j] & 15 : qs[j] >> 4);
  return block;
}

// Block `index` of a stored row of a type that packs to nibbles or bytes.
Block ReadBlock(GgufType type, const uint8_t* row, int32_t index) {
  Block block;
  block.offset = 0;
  switch (type) {
    case GgufType::kQ4_0: {
      const uint8_t* at = row + index * 18;
      block.scale = HalfAt(at);
      block.offset = -8 * block.scale;
      SplitNibbles(at + 2, block);
      return block;
    }
    case GgufType::kQ4_1: {
      const uint8_t* at = row + index * 20;
      block.scale = HalfAt(at);
      block.offset = HalfAt(at + 2);
      SplitNibbles(at + 4, block);
      return block;
    }
    case GgufType::kQ4_K:
      return ReadQ4K(row + index / 8 * 144, index % 8);
    case GgufType::kQ5_0: {
      const uint8_t* at = row + index * 22;
      block.scale = HalfAt(at);
      uint32_t high;
      std::memcpy(&high, at + 2, 4);
      SplitNibbles(at + 6, block);
      for (int j = 0; j < kBlockColumns; ++j) {
        block.q[j] = static_cast<int8_t>((block.q[j] | static_cast<int>(high >> j & 1) << 4) - 16);
      }
      return block;
    }
    case GgufType::kQ8_0: {
      const uint8_t* at = row + index * 34;
      block.scale = HalfAt(at);
      std::memcpy(block.q.data(), at + 2, kBlockColumns);
      return block;
    }
    default:
      break;
  }
  assert(false);
  return block;
}

}  // namespace

Activations::Activations(int32_t rows_max, int32_t columns)
    : rows_max_((rows_max + kGroupRows - 1) / kGroupRows * kGroupRows),
      columns_(columns),
      values_(static_cast<size_t>(rows_max_) * columns),
      quantised_(values_.size()),
      scales_(values_.size() / kBlockColumns),
      sums_(scales_.size()) {
  assert(columns % kBlockColumns == 0);
}

void Activations::Set(int32_t m, const float* values, const CpuKernels& kernels) {
  assert(m >= 0 && m < rows_max_);
  std::copy_n(values, columns_, values_.data() + static_cast<size_t>(m) * columns_);
  const size_t group = static_cast<size_t>(m / kGroupRows) * kGroupRows, slot = m % kGroupRows;
  const size_t block = group * (columns_ / kBlockColumns) + slot;
  kernels.quantise(values, columns_, quantised_.data() + group * columns_ + 2 * slot, scales_.data() + block,
                   sums_.data() + block);
}

ActivationView Activations::View(int32_t rows) const {
  assert(rows >= 0 && rows <= rows_max_);
  return {rows, columns_, values_.data(), quantised_.data(), scales_.data(), sums_.data()};
}

absl::StatusOr<PackedMatrix> PackedMatrix::Pack(std::span<const GgufTensor* const> tensors) {
  assert(!tensors.empty());
  PackedMatrix matrix;
  uint64_t rows = 0;
  for (const GgufTensor* tensor : tensors) {
    if (tensor->dims[0] != tensors[0]->dims[0] || tensor->dims[0] % kBlockColumns != 0 ||
        tensor->dims[0] > 1u << 20) {
      return Refuse(*tensor, "has rows of " + std::to_string(tensor->dims[0]),
                    "a multiple of 32, equal to the others' " + std::to_string(tensors[0]->dims[0]));
    }
    rows += tensor->rows();
    if (rows > 1u << 24)
      return Refuse(*tensor, "makes " + std::to_string(rows) + " rows", "at most 16777216");
  }
  // One packing for the whole matrix: the widest that a tensor needs, fp32 when they differ.
  matrix.packing_ = PackingOf(tensors[0]->type);
  for (const GgufTensor* tensor : tensors) {
    if (PackingOf(tensor->type) != matrix.packing_) matrix.packing_ = Packing::kFloats;
  }
  matrix.rows_ = static_cast<int32_t>(rows);
  matrix.columns_ = static_cast<int32_t>(tensors[0]->dims[0]);
  const size_t blocks = static_cast<size_t>(matrix.tiles()) * (matrix.columns_ / kBlockColumns);
  if (matrix.packing_ == Packing::kFloats) {
    matrix.floats_.resize(blocks * kBlockColumns * kTileRows);
  } else {
    matrix.weights_.resize(blocks *
                           (matrix.packing_ == Packing::kNibbles ? kNibbleBlockBytes : kByteBlockBytes));
    matrix.scales_.resize(blocks * kTileRows);
    if (matrix.packing_ == Packing::kNibbles) matrix.offsets_.resize(blocks * kTileRows);
  }
  int32_t row_offset = 0;
  for (const GgufTensor* tensor : tensors) {
    absl::Status status = matrix.packing_ == Packing::kNibbles ? matrix.PackNibbles(*tensor, row_offset)
                          : matrix.packing_ == Packing::kBytes ? matrix.PackBytes(*tensor, row_offset)
                                                               : matrix.PackFloats(*tensor, row_offset);
    if (!status.ok()) return status;
    row_offset += static_cast<int32_t>(tensor->rows());
  }
  return matrix;
}

absl::Status PackedMatrix::PackNibbles(const GgufTensor& tensor, int32_t row_offset) {
  const int32_t blocks = columns_ / kBlockColumns;
  for (uint64_t r = 0; r < tensor.rows(); ++r) {
    const uint8_t* row = tensor.data.data() + r * tensor.row_bytes();
    const size_t tile = (row_offset + r) / kTileRows, lane = (row_offset + r) % kTileRows;
    for (int32_t b = 0; b < blocks; ++b) {
      const Block block = ReadBlock(tensor.type, row, b);
      if (!std::isfinite(block.scale) || !std::isfinite(block.offset)) {
        return Refuse(tensor, "has a scale that is not finite in row " + std::to_string(r), "finite scales");
      }
      const size_t at = tile * blocks + b;
      scales_[at * kTileRows + lane] = block.scale;
      offsets_[at * kTileRows + lane] = block.offset;
      uint8_t* out = weights_.data() + at * kNibbleBlockBytes;
      for (int k = 0; k < kBlockColumns; k += 4) {  // two pairs of columns share the bytes of a lane
        const int group = k / 8, half_byte = k % 8 / 4;
        uint8_t* lane_bytes = out + group * 64 + lane * 4;
        lane_bytes[half_byte] = static_cast<uint8_t>(block.q[k] | block.q[k + 2] << 4);
        lane_bytes[2 + half_byte] = static_cast<uint8_t>(block.q[k + 1] | block.q[k + 3] << 4);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status PackedMatrix::PackBytes(const GgufTensor& tensor, int32_t row_offset) {
  const int32_t blocks = columns_ / kBlockColumns;
  for (uint64_t r = 0; r < tensor.rows(); ++r) {
    const uint8_t* row = tensor.data.data() + r * tensor.row_bytes();
    const size_t tile = (row_offset + r) / kTileRows, lane = (row_offset + r) % kTileRows;
    for (int32_t b = 0; b < blocks; ++b) {
      const Block block = ReadBlock(tensor.type, row, b);
      if (!std::isfinite(block.scale)) {
        return Refuse(tensor, "has a scale that is not finite in row " + std::to_string(r), "finite scales");
      }
      const size_t at = tile * blocks + b;
      scales_[at * kTileRows + lane] = block.scale;
      uint8_t* out = weights_.data() + at * kByteBlockBytes;
      for (int k = 0; k < kBlockColumns; ++k) {
        out[(k / 2 * kTileRows + lane) * 2 + k % 2] = static_cast<uint8_t>(block.q[k]);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status PackedMatrix::PackFloats(const GgufTensor& tensor, int32_t row_offset) {
  std::vector<float> row(columns_);
  for (uint64_t r = 0; r < tensor.rows(); ++r) {
    DequantizeGguf(tensor.type, tensor.data.data() + r * tensor.row_bytes(), row.size(), row.data());
    const size_t tile = (row_offset + r) / kTileRows, lane = (row_offset + r) % kTileRows;
    for (int32_t k = 0; k < columns_; ++k) {
      if (!std::isfinite(row[k])) {
        return Refuse(tensor, "has a weight that is not finite in row " + std::to_string(r),
                      "finite weights");
      }
      floats_[(tile * columns_ + k) * kTileRows + lane] = row[k];
    }
  }
  return absl::OkStatus();
}

uint64_t PackedMatrix::bytes() const {
  return weights_.size() + (floats_.size() + scales_.size() + offsets_.size()) * sizeof(float);
}

void PackedMatrix::Multiply(const ActivationView& x, int32_t tile_begin, int32_t tile_end, float* y,
                            size_t y_stride, const CpuKernels& kernels) const {
  assert(x.columns == columns_ && tile_begin >= 0 && tile_begin <= tile_end && tile_end <= tiles());
  const PackedView view = {packing_,       columns_ / kBlockColumns, weights_.data(),
                           floats_.data(), scales_.data(),           offsets_.data()};
  kernels.multiply(view, x, tile_begin, tile_end, y, y_stride);
}

}  // namespace retort::student
