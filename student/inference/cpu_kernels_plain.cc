// Portable kernels. The products are written as the packing is defined, and are the truth for the other
// files.
#include <cmath>
#include <cstring>

#include "student/inference/internal/isa_tables.h"

namespace retort::student {
namespace {

#include "student/inference/internal/row_kernels.inc"

// Weight of column k (0 to 31) and row `lane` of a packed block.
int WeightAt(Packing packing, const uint8_t* block, int k, int lane) {
  if (packing == Packing::kBytes) return static_cast<int8_t>(block[(k / 2 * kTileRows + lane) * 2 + k % 2]);
  const uint8_t* lane_bytes = block + k / 8 * 64 + lane * 4;
  const int half = lane_bytes[2 * (k % 2)] | lane_bytes[2 * (k % 2) + 1] << 8;
  return half >> (4 * (k % 8 / 2)) & 15;
}

// One row of activations times one row of packed weights.
float IntegerDot(const PackedView& w, const ActivationView& x, int32_t m, int32_t tile, int lane) {
  const size_t block_bytes = w.packing == Packing::kNibbles ? 256 : 512;
  const size_t slot = m % kGroupRows;
  float sum = 0;
  for (int32_t b = 0; b < w.blocks; ++b) {
    const size_t at = static_cast<size_t>(tile) * w.blocks + b;
    const size_t x_at = static_cast<size_t>(m / kGroupRows) * w.blocks + b;
    const int16_t* q = x.quantised + x_at * kBlockColumns * kGroupRows + 2 * slot;
    int32_t products = 0;
    for (int k = 0; k < kBlockColumns; ++k) {
      products +=
          WeightAt(w.packing, w.weights + at * block_bytes, k, lane) * q[k / 2 * 2 * kGroupRows + k % 2];
    }
    const float scaled = static_cast<float>(products) * x.scales[x_at * kGroupRows + slot];
    sum = std::fma(scaled, w.scales[at * kTileRows + lane], sum);
    if (w.packing == Packing::kNibbles) {
      sum = std::fma(w.offsets[at * kTileRows + lane], x.sums[x_at * kGroupRows + slot], sum);
    }
  }
  return sum;
}

float FloatDot(const PackedView& w, const ActivationView& x, int32_t m, int32_t tile, int lane) {
  const float* weights = w.floats + static_cast<size_t>(tile) * x.columns * kTileRows + lane;
  const float* values = x.values + static_cast<size_t>(m) * x.columns;
  float sum = 0;
  for (int32_t k = 0; k < x.columns; ++k)
    sum = std::fma(weights[static_cast<size_t>(k) * kTileRows], values[k], sum);
  return sum;
}

void Multiply(const PackedView& w, const ActivationView& x, int32_t tile_begin, int32_t tile_end, float* y,
              size_t y_stride) {
  for (int32_t tile = tile_begin; tile < tile_end; ++tile) {
    for (int32_t m = 0; m < x.rows; ++m) {
      for (int lane = 0; lane < kTileRows; ++lane) {
        y[m * y_stride + tile * kTileRows + lane] =
            w.packing == Packing::kFloats ? FloatDot(w, x, m, tile, lane) : IntegerDot(w, x, m, tile, lane);
      }
    }
  }
}

}  // namespace

const CpuKernels& PlainKernels() {
  static constexpr CpuKernels kKernels = MakeKernels("plain", Multiply);
  return kKernels;
}

}  // namespace retort::student
