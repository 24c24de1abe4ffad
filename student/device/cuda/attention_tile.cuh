// The matrix work of attention: tiles of 64 x 64 by a block of 256 threads, in fp32.
//
// Threads form a square of 16 x 16. Of a 64 x 64 tile, thread (a, b) has the patch of rows 4a .. 4a+3 and
// columns 4b .. 4b+3; of a tile with more columns the same patch in each group of 64. Operands pass through
// shared memory in slices, laid out so that a thread reads its four values at once: two reads of 16 bytes
// feed 16 multiply-adds.
#ifndef STUDENT_DEVICE_CUDA_ATTENTION_TILE_CUH_
#define STUDENT_DEVICE_CUDA_ATTENTION_TILE_CUH_

#include <cuda_runtime.h>

#include <cstdint>

#include "student/device/cuda/reduce.cuh"
#include "student/device/cuda/values.cuh"

namespace retort::student {

inline constexpr int kTile = 64;  // rows and columns; docs and AttentionTiles rely on it
inline constexpr int kPatch = 4;  // rows and columns of one thread
inline constexpr int kSide = 16;  // threads along either side
inline constexpr int kTileThreads = kSide * kSide;
inline constexpr int kDepth = 32;  // columns of a slice of the operands of TileProduct
inline constexpr int kSlice = 16;  // rows of a slice of the operand of AddTileProduct
inline constexpr int kGroupsMax = 3;
inline constexpr int kPadded = kTile + 4;  // a multiple of four that spreads a column over banks

__device__ inline int PatchRow() {
  return static_cast<int>(threadIdx.x) / kSide * kPatch;
}
__device__ inline int PatchColumn() {
  return static_cast<int>(threadIdx.x) % kSide * kPatch;
}
// Column, within a block of groups, of a thread's j-th value.
__device__ inline int GroupColumn(int j) {
  return j / kPatch * kTile + PatchColumn() + j % kPatch;
}

// Blocks that should fit a multiprocessor at once: bounds the registers of a thread, 128 or 255. Two where
// that costs no spilled register.
constexpr int BlocksPerProcessor(int groups, int value_bytes) {
  return groups == 1 && value_bytes == 2 ? 2 : 1;
}

inline unsigned ColumnBlocks(int columns, int groups) {
  return static_cast<unsigned>((columns + groups * kTile - 1) / (groups * kTile));
}

// Rows of `columns` values, the first `split` of them at first + row * stride, the others at second.
template <typename T>
struct RowsOf {
  const T* first;
  std::int64_t stride;
  int split;
  const T* second;
  std::int64_t second_stride;
  int columns;

  __device__ float At(std::int64_t row, int column) const {
    return ToFloat(column < split ? first[row * stride + column]
                                  : second[row * second_stride + column - split]);
  }
};

struct alignas(16) TileMemory {
  union {
    struct {
      float a[kDepth][kPadded], b[kDepth][kPadded];  // [column][row]
    };
    float slice[kSlice][kGroupsMax * kTile];
  };
  float weights[kTile][kPadded];  // [column][row]
};

// Where in a document a block's tile lies: rows [first, last) of the document's [document, document_end).
struct TileOfDocument {
  std::int64_t document, document_end, first, last;
};

// False for a block beyond the last tile.
__device__ inline bool FindTile(const std::int32_t* starts, const std::int32_t* tile_starts, int documents,
                                int index, TileOfDocument* tile) {
  if (index >= tile_starts[documents]) return false;
  int low = 0, high = documents;  // tile_starts[low] <= index < tile_starts[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (tile_starts[middle] <= index) {
      low = middle;
    } else {
      high = middle;
    }
  }
  tile->document = starts[low];
  tile->document_end = starts[low + 1];
  tile->first = tile->document + static_cast<std::int64_t>(index - tile_starts[low]) * kTile;
  tile->last = tile->first + kTile < tile->document_end ? tile->first + kTile : tile->document_end;
  return true;
}

// Largest value, and sum, over the 16 threads that share patch rows.
__device__ inline float PatchRowMax(float value) {
  for (int distance = kSide / 2; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  return value;
}
__device__ inline float PatchRowSum(float value) {
  for (int distance = kSide / 2; distance > 0; distance /= 2)
    value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

// product = A * B^T for this thread's patch: rows [a_first, a_last) of a, at most 64, against rows [b_first,
// b_last) of b. Rows beyond count as zeros. Both have a.columns columns, which are added up in order.
template <typename T>
__device__ inline void TileProduct(const RowsOf<T>& a, std::int64_t a_first, std::int64_t a_last,
                                   const RowsOf<T>& b, std::int64_t b_first, std::int64_t b_last,
                                   TileMemory* memory, float (&product)[kPatch][kPatch]) {
  for (int i = 0; i < kPatch; ++i) {
    for (int j = 0; j < kPatch; ++j) product[i][j] = 0;
  }
  for (int first = 0; first < a.columns; first += kDepth) {
    __syncthreads();  // the slices, or what shares their place, have been read
    for (int i = static_cast<int>(threadIdx.x); i < kTile * kDepth; i += kTileThreads) {
      // Neighbouring threads read neighbouring columns.
      const int row = i / kDepth, d = i % kDepth, column = first + d;
      const bool inside = column < a.columns;
      memory->a[d][row] = inside && a_first + row < a_last ? a.At(a_first + row, column) : 0.0f;
      memory->b[d][row] = inside && b_first + row < b_last ? b.At(b_first + row, column) : 0.0f;
    }
    __syncthreads();
#pragma unroll 8
    for (int d = 0; d < kDepth; ++d) {
      const Pack<kPatch> x = Load<kPatch>(&memory->a[d][PatchRow()]);
      const Pack<kPatch> y = Load<kPatch>(&memory->b[d][PatchColumn()]);
#pragma unroll
      for (int i = 0; i < kPatch; ++i) {
#pragma unroll
        for (int j = 0; j < kPatch; ++j) product[i][j] += x.v[i] * y.v[j];
      }
    }
  }
}

// Keeps a 64 x 64 tile for AddTileProduct.
__device__ inline void StoreWeights(const float (&weights)[kPatch][kPatch], TileMemory* memory) {
#pragma unroll
  for (int j = 0; j < kPatch; ++j) {
    Pack<kPatch> column;
#pragma unroll
    for (int i = 0; i < kPatch; ++i) column.v[i] = weights[i][j];
    Store(column, &memory->weights[PatchColumn() + j][PatchRow()]);
  }
}

// sums += W * M for this thread's patches: W the stored tile, M rows [first, last) of `matrix`, at most 64,
// columns [first_column, first_column + 64 * kGroups). Rows are added up in order; rows and columns beyond
// count as zeros. Begins and ends so that StoreWeights and TileProduct may stand before and after.
template <int kGroups, typename T>
__device__ inline void AddTileProduct(const RowsOf<T>& matrix, std::int64_t first, std::int64_t last,
                                      int first_column, TileMemory* memory,
                                      float (&sums)[kPatch][kGroups * kPatch]) {
  for (int slice = 0; slice < kTile; slice += kSlice) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kSlice * kGroups * kTile; i += kTileThreads) {
      const int row = i / (kGroups * kTile), c = i % (kGroups * kTile), column = first_column + c;
      const std::int64_t at = first + slice + row;
      memory->slice[row][c] = at < last && column < matrix.columns ? matrix.At(at, column) : 0.0f;
    }
    __syncthreads();
#pragma unroll 4
    for (int row = 0; row < kSlice; ++row) {
      const Pack<kPatch> w = Load<kPatch>(&memory->weights[slice + row][PatchRow()]);
#pragma unroll
      for (int group = 0; group < kGroups; ++group) {
        const Pack<kPatch> m = Load<kPatch>(&memory->slice[row][group * kTile + PatchColumn()]);
#pragma unroll
        for (int i = 0; i < kPatch; ++i) {
#pragma unroll
          for (int j = 0; j < kPatch; ++j) sums[i][group * kPatch + j] += w.v[i] * m.v[j];
        }
      }
    }
  }
}

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_ATTENTION_TILE_CUH_
