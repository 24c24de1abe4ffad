#include "student/device/cuda/counting_sort.cuh"
#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/rows.cuh"
#include "student/device/cuda/values.cuh"
#include "student/ops/dispatch.h"

namespace retort::student {
namespace {

struct ExpertOf {
  const std::int32_t* chosen;
  __device__ int operator()(std::int64_t i) const { return chosen[i]; }
};

struct PlaceSlot {
  const float* weights;
  int per_token;
  DeviceDispatch dispatch;
  __device__ void operator()(std::int64_t i, std::int32_t slot) const {
    dispatch.slot_tokens[slot] = static_cast<std::int32_t>(i / per_token);
    dispatch.slot_weights[slot] = weights[i];
    dispatch.token_slots[i] = slot;
  }
};

// One row of y per row of the layout; a row is read and written in groups of kWidth columns by neighbouring
// threads. kScatter: the row of y is looked up, else that of x.
template <int kWidth, bool kScatter, typename From, typename To>
__global__ void MoveRows(int lanes, const From* x, const std::int32_t* rows, std::int64_t count, int n,
                         To* y) {
  const std::int64_t i = RowOfThread(lanes);
  if (i >= count) return;
  const From* const from = x + (kScatter ? i : rows[i]) * static_cast<std::int64_t>(n);
  To* const to = y + (kScatter ? rows[i] : i) * static_cast<std::int64_t>(n);
  for (int c = LaneOfThread(lanes) * kWidth; c < n; c += lanes * kWidth)
    Store(Load<kWidth>(from + c), to + c);
}

template <bool kScatter, typename From, typename To>
void LaunchMoveRows(Stream stream, const From* x, const std::int32_t* rows, std::int64_t count, int n,
                    To* y) {
  if (count == 0 || n == 0) return;
  if (AlignedByFour(x, n) && AlignedByFour(y, n)) {
    const RowLayout layout = LayRows(count, n / 4);
    RETORT_LAUNCH((MoveRows<4, kScatter, From, To>), layout.blocks, kRowThreads, 0, stream, layout.lanes, x,
                  rows, count, n, y);
  } else {
    const RowLayout layout = LayRows(count, n);
    RETORT_LAUNCH((MoveRows<1, kScatter, From, To>), layout.blocks, kRowThreads, 0, stream, layout.lanes, x,
                  rows, count, n, y);
  }
}

// The sum of a group of columns stays in registers while the token's slots are read in order of k.
template <int kWidth, typename T>
__global__ void GatherSumKernel(int lanes, const std::int32_t* token_slots, const T* slots,
                                std::int64_t tokens, int per_token, int n, float* y) {
  const std::int64_t t = RowOfThread(lanes);
  if (t >= tokens) return;
  const std::int32_t* const own = token_slots + t * per_token;
  for (int c = LaneOfThread(lanes) * kWidth; c < n; c += lanes * kWidth) {
    Pack<kWidth> sum = Load<kWidth>(y + t * n + c);
    for (int k = 0; k < per_token; ++k) {
      const Pack<kWidth> slot = Load<kWidth>(slots + static_cast<std::int64_t>(own[k]) * n + c);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum.v[j] += slot.v[j];
    }
    Store(sum, y + t * n + c);
  }
}

__global__ void GatherValuesKernel(const float* values, const std::int32_t* index, std::int64_t count,
                                   float* y) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (i < count) y[i] = values[index[i]];
}

}  // namespace

std::size_t SortByExpertWorkspace(std::int64_t tokens, int per_token, int experts) {
  return SortWorkspace(tokens * per_token, experts) * sizeof(std::int32_t);
}

void SortByExpert(Stream stream, const std::int32_t* chosen, const float* weights, std::int64_t tokens,
                  int per_token, int experts, const DeviceDispatch& dispatch, std::int64_t* loads,
                  void* workspace) {
  CountingSort(stream, ExpertOf{chosen}, tokens * per_token, experts, dispatch.offsets, loads,
               PlaceSlot{weights, per_token, dispatch}, static_cast<std::int32_t*>(workspace));
}

template <typename From, typename To>
void GatherRows(Stream stream, const From* x, const std::int32_t* rows, std::int64_t count, int n, To* y) {
  LaunchMoveRows<false>(stream, x, rows, count, n, y);
}

template <typename From, typename To>
void ScatterRows(Stream stream, const From* x, const std::int32_t* rows, std::int64_t count, int n, To* y) {
  LaunchMoveRows<true>(stream, x, rows, count, n, y);
}

template <typename T>
void GatherSum(Stream stream, const std::int32_t* token_slots, const T* slots, std::int64_t tokens,
               int per_token, int n, float* y) {
  if (tokens == 0 || n == 0) return;
  if (AlignedByFour(slots, n) && AlignedByFour(y, n)) {
    const RowLayout layout = LayRows(tokens, n / 4);
    RETORT_LAUNCH((GatherSumKernel<4, T>), layout.blocks, kRowThreads, 0, stream, layout.lanes, token_slots,
                  slots, tokens, per_token, n, y);
  } else {
    const RowLayout layout = LayRows(tokens, n);
    RETORT_LAUNCH((GatherSumKernel<1, T>), layout.blocks, kRowThreads, 0, stream, layout.lanes, token_slots,
                  slots, tokens, per_token, n, y);
  }
}

void GatherValues(Stream stream, const float* values, const std::int32_t* index, std::int64_t count,
                  float* y) {
  if (count == 0) return;
  RETORT_LAUNCH(GatherValuesKernel, (count + kRowThreads - 1) / kRowThreads, kRowThreads, 0, stream, values,
                index, count, y);
}

#define RETORT_ROWS(From, To)                                                                 \
  template void GatherRows(Stream, const From*, const std::int32_t*, std::int64_t, int, To*); \
  template void ScatterRows(Stream, const From*, const std::int32_t*, std::int64_t, int, To*)
RETORT_ROWS(float, float);
RETORT_ROWS(float, Bf16);
RETORT_ROWS(Bf16, float);
RETORT_ROWS(Bf16, Bf16);
#undef RETORT_ROWS
template void GatherSum(Stream, const std::int32_t*, const float*, std::int64_t, int, int, float*);
template void GatherSum(Stream, const std::int32_t*, const Bf16*, std::int64_t, int, int, float*);

}  // namespace retort::student
