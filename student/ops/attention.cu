#include "student/device/cuda/attention_tile.cuh"
#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/rows.cuh"
#include "student/device/cuda/values.cuh"
#include "student/ops/attention.h"

namespace retort::student {
namespace {

constexpr int kTileScanThreads = 1024;

// One block; each thread has a run of neighbouring documents.
__global__ void AttentionTilesKernel(const std::int32_t* starts, int count, std::int32_t* tile_starts) {
  __shared__ std::int32_t warps[kWarp];
  const int each = (count + kTileScanThreads - 1) / kTileScanThreads;
  const int first = static_cast<int>(threadIdx.x) * each;
  const int last = first + each < count ? first + each : count;
  const auto tiles = [&](int d) { return (starts[d + 1] - starts[d] + kTile - 1) / kTile; };
  std::int32_t own = 0;
  for (int d = first; d < last; ++d) own += tiles(d);
  std::int32_t total = 0;
  std::int32_t before = BlockPrefix(own, warps, &total);
  for (int d = first; d < last; ++d) {
    tile_starts[d] = before;
    before += tiles(d);
  }
  if (threadIdx.x == 0) tile_starts[count] = total;
}

// As the members of AttentionShape, which device code cannot call.
__device__ inline int QueryWidth(const AttentionShape& shape) {
  return shape.nope + shape.rope;
}
__device__ inline int KeyValueWidth(const AttentionShape& shape) {
  return shape.nope + shape.value;
}

// The rows of one head, a tile of which a kernel works on.
template <typename T>
struct Head {
  RowsOf<T> q, key, value, d_out;
};

template <typename T>
__device__ inline Head<T> HeadOf(const AttentionShape& shape, int head, const T* q, const T* kv,
                                 const T* rope_key, const T* d_out) {
  const std::int64_t q_stride = static_cast<std::int64_t>(shape.heads) * QueryWidth(shape);
  const std::int64_t kv_stride = static_cast<std::int64_t>(shape.heads) * KeyValueWidth(shape);
  const std::int64_t out_stride = static_cast<std::int64_t>(shape.heads) * shape.value;
  const T* const own_kv = kv + head * KeyValueWidth(shape);
  return {{q + head * QueryWidth(shape), q_stride, QueryWidth(shape), nullptr, 0, QueryWidth(shape)},
          {own_kv, kv_stride, shape.nope, rope_key, shape.rope, QueryWidth(shape)},
          {own_kv + shape.nope, kv_stride, shape.value, nullptr, 0, shape.value},
          {d_out == nullptr ? nullptr : d_out + head * shape.value, out_stride, shape.value, nullptr, 0,
           shape.value}};
}

// Block (tile of queries, head, group of value columns). Online softmax: per row the largest score so far and
// the sum of exponentials against it; both and the sums of values are rescaled when a tile brings a larger
// one.
template <int kGroups, typename T>
__global__ void __launch_bounds__(kTileThreads, BlocksPerProcessor(kGroups, sizeof(T)))
    AttentionKernel(AttentionShape shape, const std::int32_t* starts, const std::int32_t* tile_starts,
                    int documents, std::int64_t rows, const T* q, const T* kv, const T* rope_key, T* out,
                    float* log_sum) {
  __shared__ TileMemory memory;
  TileOfDocument tile;
  if (!FindTile(starts, tile_starts, documents, static_cast<int>(blockIdx.x), &tile)) return;
  const int head = static_cast<int>(blockIdx.y),
            first_column = static_cast<int>(blockIdx.z) * kGroups * kTile;
  const Head<T> own = HeadOf(shape, head, q, kv, rope_key, static_cast<const T*>(nullptr));
  const float scale = 1.0f / sqrtf(static_cast<float>(QueryWidth(shape)));

  float sums[kPatch][kGroups * kPatch] = {};
  float best[kPatch], total[kPatch];
  for (int i = 0; i < kPatch; ++i) {
    best[i] = -INFINITY;
    total[i] = 0;
  }
  for (std::int64_t first_key = tile.document; first_key <= tile.first; first_key += kTile) {
    float scores[kPatch][kPatch];
    TileProduct(own.q, tile.first, tile.last, own.key, first_key, tile.last, &memory, scores);
    for (int i = 0; i < kPatch; ++i) {
      const std::int64_t query = tile.first + PatchRow() + i;
      float tile_best = best[i];
      for (int j = 0; j < kPatch; ++j) {
        const bool seen = first_key + PatchColumn() + j <= query;
        scores[i][j] = seen ? scores[i][j] * scale : -INFINITY;
        tile_best = fmaxf(tile_best, scores[i][j]);
      }
      tile_best = PatchRowMax(tile_best);  // finite: a query sees the first key of every tile up to its own
      const float rescale = expf(best[i] - tile_best);
      best[i] = tile_best;
      float tile_sum = 0;
      for (int j = 0; j < kPatch; ++j) tile_sum += scores[i][j] = expf(scores[i][j] - tile_best);
      total[i] = total[i] * rescale + PatchRowSum(tile_sum);
      for (int j = 0; j < kGroups * kPatch; ++j) sums[i][j] *= rescale;
    }
    StoreWeights(scores, &memory);
    AddTileProduct<kGroups>(own.value, first_key, tile.last, first_column, &memory, sums);
  }

  for (int i = 0; i < kPatch; ++i) {
    const std::int64_t query = tile.first + PatchRow() + i;
    if (query >= tile.last) continue;
    if (blockIdx.z == 0 && PatchColumn() == 0) log_sum[head * rows + query] = best[i] + logf(total[i]);
    const float inverse = 1.0f / total[i];
    for (int j = 0; j < kGroups * kPatch; ++j) {
      const int column = first_column + GroupColumn(j);
      if (column < shape.value)
        Round(sums[i][j] * inverse, out + (query * shape.heads + head) * shape.value + column);
    }
  }
}

// delta[head, row] = <d_out, out> of the head, which is sum over keys of P dP. One warp per (head, row).
template <typename T>
__global__ void AttentionDeltas(AttentionShape shape, std::int64_t rows, const T* out, const T* d_out,
                                float* deltas) {
  const std::int64_t i = RowOfWarp();
  if (i >= rows * shape.heads) return;
  const std::int64_t head = i / rows, row = i % rows;
  const std::int64_t at = (row * shape.heads + head) * shape.value;
  float sum = 0;
  for (int c = LaneOfWarp(); c < shape.value; c += kWarp)
    sum += ToFloat(d_out[at + c]) * ToFloat(out[at + c]);
  sum = WarpSum(sum);
  if (LaneOfWarp() == 0) deltas[i] = sum;
}

enum class Gradient { kQuery, kKey, kValue };

// Block (tile of own rows, head, group of columns) of one of the three gradients. Own rows are queries for
// kQuery, else keys; the loop goes over the other side's tiles of the document, in order. With P = exp(score
// - log_sum) and dS = scale * P * (dP - delta), own x other:
//   d_q = dS * keys,  d_key = dS^T * queries,  d_value = P^T * d_out.
template <Gradient kKind, int kGroups, typename T>
__global__ void __launch_bounds__(kTileThreads, BlocksPerProcessor(kGroups, sizeof(T)))
    AttentionGradientKernel(AttentionShape shape, const std::int32_t* starts, const std::int32_t* tile_starts,
                            int documents, std::int64_t rows, const T* q, const T* kv, const T* rope_key,
                            const float* log_sum, const T* d_out, const float* deltas, T* d_q, T* d_kv,
                            float* rope_key_shares) {
  __shared__ TileMemory memory;
  TileOfDocument tile;
  if (!FindTile(starts, tile_starts, documents, static_cast<int>(blockIdx.x), &tile)) return;
  const int head = static_cast<int>(blockIdx.y),
            first_column = static_cast<int>(blockIdx.z) * kGroups * kTile;
  const Head<T> own = HeadOf(shape, head, q, kv, rope_key, d_out);
  const float scale = 1.0f / sqrtf(static_cast<float>(QueryWidth(shape)));
  constexpr bool kOwnIsQuery = kKind == Gradient::kQuery;

  float sums[kPatch][kGroups * kPatch] = {};
  // A query sees tiles up to its own, a key is seen from its own tile on.
  const std::int64_t begin = kOwnIsQuery ? tile.document : tile.first;
  const std::int64_t end = kOwnIsQuery ? tile.last : tile.document_end;
  for (std::int64_t other = begin; other < end; other += kTile) {
    const std::int64_t other_last = other + kTile < tile.document_end ? other + kTile : tile.document_end;
    float weights[kPatch][kPatch], d_weights[kPatch][kPatch];
    if constexpr (kOwnIsQuery) {
      TileProduct(own.q, tile.first, tile.last, own.key, other, other_last, &memory, weights);
      TileProduct(own.d_out, tile.first, tile.last, own.value, other, other_last, &memory, d_weights);
    } else {
      TileProduct(own.key, tile.first, tile.last, own.q, other, other_last, &memory, weights);
      if constexpr (kKind == Gradient::kKey)
        TileProduct(own.value, tile.first, tile.last, own.d_out, other, other_last, &memory, d_weights);
    }
    for (int i = 0; i < kPatch; ++i) {
      for (int j = 0; j < kPatch; ++j) {
        const std::int64_t own_row = tile.first + PatchRow() + i, other_row = other + PatchColumn() + j;
        const std::int64_t query = kOwnIsQuery ? own_row : other_row, key = kOwnIsQuery ? other_row : own_row;
        if (own_row >= tile.last || other_row >= other_last || key > query) {
          weights[i][j] = 0;
          continue;
        }
        const float p = expf(weights[i][j] * scale - log_sum[head * rows + query]);
        weights[i][j] =
            kKind == Gradient::kValue ? p : scale * (p * (d_weights[i][j] - deltas[head * rows + query]));
      }
    }
    StoreWeights(weights, &memory);
    const RowsOf<T>& operand = kOwnIsQuery ? own.key : kKind == Gradient::kKey ? own.q : own.d_out;
    AddTileProduct<kGroups>(operand, other, other_last, first_column, &memory, sums);
  }

  const std::int64_t kv_stride = static_cast<std::int64_t>(shape.heads) * KeyValueWidth(shape);
  for (int i = 0; i < kPatch; ++i) {
    const std::int64_t row = tile.first + PatchRow() + i;
    if (row >= tile.last) continue;
    for (int j = 0; j < kGroups * kPatch; ++j) {
      const int column = first_column + GroupColumn(j);
      if constexpr (kKind == Gradient::kQuery) {
        if (column < QueryWidth(shape))
          Round(sums[i][j], d_q + (row * shape.heads + head) * QueryWidth(shape) + column);
      } else if constexpr (kKind == Gradient::kValue) {
        if (column < shape.value)
          Round(sums[i][j], d_kv + row * kv_stride + head * KeyValueWidth(shape) + shape.nope + column);
      } else {
        if (column < shape.nope) {
          Round(sums[i][j], d_kv + row * kv_stride + head * KeyValueWidth(shape) + column);
        } else if (column < QueryWidth(shape)) {
          rope_key_shares[(head * rows + row) * shape.rope + column - shape.nope] = sums[i][j];
        }
      }
    }
  }
}

// One thread per value of d_rope_key: the heads' shares in head order.
template <typename T>
__global__ void AddRopeKeyShares(int heads, std::int64_t values, const float* shares, T* d_rope_key) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i >= values) return;
  float sum = 0;
  for (int head = 0; head < heads; ++head) sum += shares[head * values + i];
  Round(sum, d_rope_key + i);
}

// Every document has at most one tile that is not full.
unsigned TilesMax(const AttentionDocuments& documents) {
  return static_cast<unsigned>(documents.rows / kTile + documents.count);
}

template <int kGroups, typename T>
void LaunchAttention(Stream stream, const AttentionShape& shape, const AttentionDocuments& documents,
                     const DeviceAttention<T>& tensors) {
  const dim3 grid(TilesMax(documents), static_cast<unsigned>(shape.heads),
                  ColumnBlocks(shape.value, kGroups));
  RETORT_LAUNCH((AttentionKernel<kGroups, T>), grid, kTileThreads, 0, stream, shape, documents.starts,
                documents.tile_starts, documents.count, documents.rows, tensors.q, tensors.kv,
                tensors.rope_key, tensors.out, tensors.log_sum);
}

template <Gradient kKind, int kGroups, typename T>
void LaunchGradient(Stream stream, const AttentionShape& shape, const AttentionDocuments& documents,
                    const DeviceAttention<T>& tensors, const DeviceAttentionGradients<T>& gradients,
                    int columns, const float* deltas, float* shares) {
  const dim3 grid(TilesMax(documents), static_cast<unsigned>(shape.heads), ColumnBlocks(columns, kGroups));
  RETORT_LAUNCH((AttentionGradientKernel<kKind, kGroups, T>), grid, kTileThreads, 0, stream, shape,
                documents.starts, documents.tile_starts, documents.count, documents.rows, tensors.q,
                tensors.kv, tensors.rope_key, tensors.log_sum, gradients.d_out, deltas, gradients.d_q,
                gradients.d_kv, shares);
}

// Columns of a block: 64, 128 or 192, the least that takes all; wider ones are cut into blocks of 192.
template <Gradient kKind, typename T>
void LaunchGradient(Stream stream, const AttentionShape& shape, const AttentionDocuments& documents,
                    const DeviceAttention<T>& tensors, const DeviceAttentionGradients<T>& gradients,
                    int columns, const float* deltas, float* shares) {
  if (columns <= kTile) {
    LaunchGradient<kKind, 1>(stream, shape, documents, tensors, gradients, columns, deltas, shares);
  } else if (columns <= 2 * kTile) {
    LaunchGradient<kKind, 2>(stream, shape, documents, tensors, gradients, columns, deltas, shares);
  } else {
    LaunchGradient<kKind, 3>(stream, shape, documents, tensors, gradients, columns, deltas, shares);
  }
}

}  // namespace

void AttentionTiles(Stream stream, const std::int32_t* starts, int count, std::int32_t* tile_starts) {
  if (count == 0) return;
  RETORT_LAUNCH(AttentionTilesKernel, 1, kTileScanThreads, 0, stream, starts, count, tile_starts);
}

template <typename T>
void Attention(Stream stream, const AttentionShape& shape, const AttentionDocuments& documents,
               const DeviceAttention<T>& tensors) {
  if (documents.rows == 0) return;
  if (shape.value <= kTile) {
    LaunchAttention<1>(stream, shape, documents, tensors);
  } else if (shape.value <= 2 * kTile) {
    LaunchAttention<2>(stream, shape, documents, tensors);
  } else {
    LaunchAttention<3>(stream, shape, documents, tensors);
  }
}

std::int64_t AttentionBackwardWorkspace(const AttentionShape& shape, std::int64_t rows) {
  return shape.heads * rows * (shape.rope + 1);
}

template <typename T>
void AttentionBackward(Stream stream, const AttentionShape& shape, const AttentionDocuments& documents,
                       const DeviceAttention<T>& tensors, const DeviceAttentionGradients<T>& gradients,
                       float* workspace) {
  const std::int64_t rows = documents.rows;
  if (rows == 0) return;
  float* const deltas = workspace;
  float* const shares = workspace + shape.heads * rows;
  RETORT_LAUNCH((AttentionDeltas<T>), WarpBlocks(rows * shape.heads), kRowWarps * kWarp, 0, stream, shape,
                rows, tensors.out, gradients.d_out, deltas);
  LaunchGradient<Gradient::kQuery>(stream, shape, documents, tensors, gradients, shape.query(), deltas,
                                   shares);
  LaunchGradient<Gradient::kKey>(stream, shape, documents, tensors, gradients, shape.query(), deltas, shares);
  LaunchGradient<Gradient::kValue>(stream, shape, documents, tensors, gradients, shape.value, deltas, shares);
  const std::int64_t values = rows * shape.rope;
  if (values == 0) return;
  RETORT_LAUNCH((AddRopeKeyShares<T>), (values + kRowThreads - 1) / kRowThreads, kRowThreads, 0, stream,
                shape.heads, values, shares, gradients.d_rope_key);
}

template void Attention(Stream, const AttentionShape&, const AttentionDocuments&,
                        const DeviceAttention<float>&);
template void Attention(Stream, const AttentionShape&, const AttentionDocuments&,
                        const DeviceAttention<Bf16>&);
template void AttentionBackward(Stream, const AttentionShape&, const AttentionDocuments&,
                                const DeviceAttention<float>&, const DeviceAttentionGradients<float>&,
                                float*);
template void AttentionBackward(Stream, const AttentionShape&, const AttentionDocuments&,
                                const DeviceAttention<Bf16>&, const DeviceAttentionGradients<Bf16>&, float*);

}  // namespace retort::student
