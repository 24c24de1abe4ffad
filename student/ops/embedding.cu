#include "student/device/cuda/counting_sort.cuh"
#include "student/device/cuda/launch.cuh"
#include "student/ops/dispatch.h"
#include "student/ops/embedding.h"

namespace retort::student {
namespace {

// Sorting by token id goes digit by digit, the lowest first, each time stably.
constexpr int kDigitBits = 10;
static_assert(1 << kDigitBits <= kSortKeysMax);

constexpr int kColumnThreads = 128;

// Digit of the token at place i of an order; a null order is 0, 1, 2, …
struct DigitAt {
  const std::int32_t* tokens;
  const std::int32_t* order;
  int shift;
  __device__ int operator()(std::int64_t i) const {
    return tokens[order == nullptr ? i : order[i]] >> shift & ((1 << kDigitBits) - 1);
  }
};

struct PlacePosition {
  const std::int32_t* order;
  std::int32_t* next_order;
  __device__ void operator()(std::int64_t i, std::int32_t place) const {
    next_order[place] = order == nullptr ? static_cast<std::int32_t>(i) : order[i];
  }
};

// Block x starts at place x of the sorted positions. If a run of equal tokens starts there, it adds the run's
// rows, in order, to the table's row; a thread has one column. Any other block ends at once.
__global__ void AddRuns(const std::int32_t* tokens, const std::int32_t* order, std::int64_t count,
                        const float* dx, int n, float* d_table) {
  const std::int64_t first = blockIdx.x;
  const std::int32_t token = tokens[order[first]];
  if (first > 0 && tokens[order[first - 1]] == token) return;
  const int c = static_cast<int>(blockIdx.y) * kColumnThreads + static_cast<int>(threadIdx.x);
  if (c >= n) return;
  float sum = d_table[static_cast<std::int64_t>(token) * n + c];
  for (std::int64_t i = first; i < count; ++i) {
    const std::int32_t position = order[i];
    if (tokens[position] != token) break;
    sum += dx[static_cast<std::int64_t>(position) * n + c];
  }
  d_table[static_cast<std::int64_t>(token) * n + c] = sum;
}

}  // namespace

template <typename T>
void Embed(Stream stream, const T* table, const std::int32_t* tokens, std::int64_t count, int n, float* x) {
  GatherRows(stream, table, tokens, count, n, x);
}

std::size_t EmbedBackwardWorkspace(std::int64_t count, int) {
  return (2 * static_cast<std::size_t>(count) + SortWorkspace(count, 1 << kDigitBits)) * sizeof(std::int32_t);
}

void EmbedBackward(Stream stream, const std::int32_t* tokens, std::int64_t count, int vocabulary,
                   const float* dx, int n, float* d_table, void* workspace) {
  if (count == 0 || n == 0) return;
  std::int32_t* const orders[] = {static_cast<std::int32_t*>(workspace),
                                  static_cast<std::int32_t*>(workspace) + count};
  std::int32_t* const sorting = orders[1] + count;
  const std::int32_t* order = nullptr;
  int pass = 0;
  for (int shift = 0; pass == 0 || (vocabulary - 1) >> shift > 0; shift += kDigitBits, ++pass) {
    const int largest = (vocabulary - 1) >> shift;
    const int keys = (largest < 1 << kDigitBits ? largest : (1 << kDigitBits) - 1) + 1;
    std::int32_t* const next = orders[pass % 2];
    CountingSort(stream, DigitAt{tokens, order, shift}, count, keys, nullptr, nullptr,
                 PlacePosition{order, next}, sorting);
    order = next;
  }
  const dim3 grid(static_cast<unsigned>(count),
                  static_cast<unsigned>((n + kColumnThreads - 1) / kColumnThreads));
  RETORT_LAUNCH(AddRuns, grid, kColumnThreads, 0, stream, tokens, order, count, dx, n, d_table);
}

template void Embed(Stream, const float*, const std::int32_t*, std::int64_t, int, float*);
template void Embed(Stream, const Bf16*, const std::int32_t*, std::int64_t, int, float*);

}  // namespace retort::student
