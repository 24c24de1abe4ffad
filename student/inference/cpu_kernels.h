// The arithmetic of inference on the CPU, one table of functions per instruction set. Every table computes
// the same bits: integer block products are exact, and fp32 operations are the same ones in the same order on
// 16 lanes, which a narrower machine works through in pieces. kPlain is portable C++ and the truth that the
// others are tested against.
//
// Functions take raw pointers; sizes are the caller's duty. None allocates or throws; all may run on any
// thread.
#ifndef STUDENT_INFERENCE_CPU_KERNELS_H_
#define STUDENT_INFERENCE_CPU_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace retort::student {

// Matrix rows are packed in tiles of 16: lane i of a vector belongs to row 16 * tile + i.
inline constexpr int32_t kTileRows = 16;
// Columns per scale.
inline constexpr int32_t kBlockColumns = 32;
// Positions per block of the key cache.
inline constexpr int32_t kKeyBlock = 16;

// How one block of 32 columns of a tile lies in memory.
enum class Packing {
  // 256 bytes: 4 groups of 16 little-endian u32, one per row. In group j, bits 4t..4t+3 of the low half are
  // the weight of
  // column 8j+2t, of the high half that of column 8j+2t+1. value = scale * q + offset.
  kNibbles,
  // 512 bytes: for each pair of columns and each row, two signed bytes. value = scale * q.
  kBytes,
  // 32 * 16 fp32: for each column, the 16 rows.
  kFloats,
};

// Rows of integer activations lie interleaved in groups of 8, so that a product reads one stream however many
// rows it works on: row m is slot m % 8 of group m / 8.
inline constexpr int32_t kGroupRows = 8;

// Activation rows in both forms.
struct ActivationView {
  int32_t rows = 0;
  int32_t columns = 0;
  const float* values = nullptr;       // [rows, columns]
  const int16_t* quantised = nullptr;  // [groups, columns / 2, 8 slots, 2 columns]
  const float* scales = nullptr;       // [groups, columns / 32, 8 slots]
  const float* sums = nullptr;  // [groups, columns / 32, 8 slots] scale * (sum of the block's integers)
};

struct PackedView {
  Packing packing;
  int32_t blocks;          // columns / 32
  const uint8_t* weights;  // [tiles, blocks, 256 or 512 bytes]
  const float* floats;     // [tiles, columns, 16]
  const float* scales;     // [tiles, blocks, 16]
  const float* offsets;    // [tiles, blocks, 16]
};

// Keys and values of one KV head of one sequence, 16-bit with one scale per position.
struct KvHeadView {
  int16_t* keys;        // [context / 16, head_dim, 16 positions]
  float* key_scales;    // [context]
  int16_t* values;      // [context, head_dim]
  float* value_scales;  // [context]
};

struct CpuKernels {
  std::string_view name;

  // y[m, 16 t + i] = sum_k x[m, k] * w[16 t + i, k] for tiles t in [tile_begin, tile_end). Overwrites.
  void (*multiply)(const PackedView& w, const ActivationView& x, int32_t tile_begin, int32_t tile_end,
                   float* y, size_t y_stride);
  // One row [columns] of activations to integers: scale = max|x| / 32767 per block, rounded to nearest even.
  // q, scales and sums point at the row's slot of its group.
  void (*quantise)(const float* x, int32_t columns, int16_t* q, float* scales, float* sums);
  // y = x / sqrt(mean(x^2) + epsilon) * weight, [n], n a multiple of 16. x and y may be the same.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int32_t n, float* y);
  // y = silu(gate) * up, [n], n a multiple of 16.
  void (*silu_multiply)(const float* gate, const float* up, int32_t n, float* y);
  // x += y, [n], n a multiple of 16.
  void (*add)(float* x, const float* y, int32_t n);
  // Rotates adjacent pairs of each of `heads` heads in place: (a, b) -> (a cos - b sin, a sin + b cos). x is
  // [heads, head_dim], cos and sin [head_dim / 2]; head_dim a multiple of 16.
  void (*rotate)(float* x, int32_t heads, int32_t head_dim, const float* cos, const float* sin);
  // Rounds one key and one value vector [head_dim] into the cache at `position`.
  void (*store_kv)(const float* key, const float* value, int32_t head_dim, int32_t position,
                   const KvHeadView& kv);
  // out[g] = sum_p softmax_p(q[g] . k[p] / sqrt(head_dim)) v[p] over positions 0..position, for `group` query
  // heads that share one KV head. q and out are [group, head_dim]; scratch is [group, context rounded up to
  // 16].
  void (*attend)(const float* q, int32_t group, int32_t head_dim, int32_t position, const KvHeadView& kv,
                 float* scratch, float* out);
  // sum(exp(x - max)) over [n] in fp64, 16 lane sums added in a fixed order; `max` is at least every x.
  double (*sum_exp)(const float* x, size_t n, float max);
  // out = exp((x - max) * scale), [n]; `max` is at least every x. x and out may be the same. Exponents below
  // -87 count as -87: 1.6e-38 of the largest.
  void (*exp_scaled)(const float* x, size_t n, float max, float scale, float* out);
  // sum(x) over [n], in fp32 on 32 lanes that are added in a fixed order; for at most a few thousand terms of
  // one sign.
  double (*sum)(const float* x, size_t n);
  // Largest element of [n], n >= 1.
  float (*maximum)(const float* x, size_t n);
};

enum class InferenceIsa { kPlain, kAvx2, kAvx512, kAvx512Vnni };

// The table of an instruction set, or nullptr when this CPU (or this binary) does not have it. kPlain always
// exists.
const CpuKernels* FindCpuKernels(InferenceIsa isa);
// The fastest that this CPU has, found once.
const CpuKernels& BestCpuKernels();

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_CPU_KERNELS_H_
