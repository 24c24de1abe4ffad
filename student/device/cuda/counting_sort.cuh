// Stable counting sort of indices 0 .. count-1 by a small integer key, the same order whatever the timing.
//
// The indices are cut into chunks of kSortChunk. CountKeys: one block per chunk counts its keys. PrefixKeys:
// one block turns counts into each (key, chunk)'s first place. PlaceKeys: one warp per chunk hands out places
// 32 indices at a time, in order: lanes with equal keys find each other and take consecutive places. Memory:
// every key is read twice, every place written once; counts are chunks * keys * 4 bytes.
#ifndef STUDENT_DEVICE_CUDA_COUNTING_SORT_CUH_
#define STUDENT_DEVICE_CUDA_COUNTING_SORT_CUH_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/reduce.cuh"

namespace retort::student {

inline constexpr int kSortKeysMax = 1024;
inline constexpr int kSortChunk = 1024;
inline constexpr int kSortThreads = 256;
inline constexpr int kPlaceWarps = 4;

inline std::int64_t SortChunks(std::int64_t count) {
  return (count + kSortChunk - 1) / kSortChunk;
}

// Values of int32 of working memory.
inline std::size_t SortWorkspace(std::int64_t count, int keys) {
  return static_cast<std::size_t>(SortChunks(count)) * keys + keys + 1;
}

template <typename Key>
__global__ void CountKeys(Key key_of, std::int64_t count, int keys, std::int32_t* counts) {
  __shared__ std::int32_t seen[kSortKeysMax];
  for (int key = threadIdx.x; key < keys; key += kSortThreads) seen[key] = 0;
  __syncthreads();
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kSortChunk;
  const std::int64_t last = first + kSortChunk < count ? first + kSortChunk : count;
  for (std::int64_t i = first + threadIdx.x; i < last; i += kSortThreads) atomicAdd(&seen[key_of(i)], 1);
  __syncthreads();
  for (int key = threadIdx.x; key < keys; key += kSortThreads)
    counts[static_cast<std::int64_t>(blockIdx.x) * keys + key] = seen[key];
}

// Thread `key` has key `key`: counts [chunks, keys] become places before the chunk within the key, offsets
// [keys + 1] the keys' first places.
static __global__ void PrefixKeys(std::int64_t chunks, int keys, std::int32_t* counts, std::int32_t* offsets,
                                  std::int64_t* loads) {
  __shared__ std::int32_t warps[kWarp];
  const int key = static_cast<int>(threadIdx.x);
  std::int32_t own = 0;
  if (key < keys) {
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      const std::int32_t size = counts[chunk * keys + key];
      counts[chunk * keys + key] = own;
      own += size;
    }
  }
  std::int32_t total = 0;
  const std::int32_t first = BlockPrefix(own, warps, &total);
  if (key < keys) {
    offsets[key] = first;
    if (loads != nullptr) loads[key] += own;
  }
  if (key == 0) offsets[keys] = total;
}

template <typename Key, typename Place>
__global__ void PlaceKeys(Key key_of, std::int64_t count, int keys, const std::int32_t* counts,
                          const std::int32_t* offsets, Place place) {
  __shared__ std::int32_t next_places[kPlaceWarps][kSortKeysMax];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  std::int32_t* const next = next_places[threadIdx.x / kWarp];
  const std::int64_t chunk = static_cast<std::int64_t>(blockIdx.x) * kPlaceWarps + threadIdx.x / kWarp;
  const std::int64_t first = chunk * kSortChunk;
  if (first >= count) return;
  const std::int64_t last = first + kSortChunk < count ? first + kSortChunk : count;
  for (int key = lane; key < keys; key += kWarp) next[key] = offsets[key] + counts[chunk * keys + key];
  __syncwarp();
  for (std::int64_t base = first; base < last; base += kWarp) {
    const std::int64_t i = base + lane;
    const int key = i < last ? key_of(i) : -1;
    const unsigned alike = __match_any_sync(kAllLanes, key);
    const unsigned before = alike & ((1u << lane) - 1);
    const std::int32_t start = key < 0 ? 0 : next[key];
    __syncwarp();
    if (key >= 0) {
      if (before == 0) next[key] = start + __popc(alike);
      place(i, start + __popc(before));
    }
    __syncwarp();
  }
}

// key_of(i) in [0, keys), keys <= kSortKeysMax; calls place(i, p) once for each i < count, p its place.
// offsets [keys + 1] may be null; loads [keys] may be null, else each key's number of indices is added. count
// < 2^31. Both functions are device functions of trivially copyable objects.
template <typename Key, typename Place>
void CountingSort(Stream stream, Key key_of, std::int64_t count, int keys, std::int32_t* offsets,
                  std::int64_t* loads, Place place, std::int32_t* workspace) {
  const std::int64_t chunks = SortChunks(count);
  std::int32_t* const counts = workspace;
  if (offsets == nullptr) offsets = workspace + chunks * keys;
  if (chunks > 0)
    RETORT_LAUNCH((CountKeys<Key>), chunks, kSortThreads, 0, stream, key_of, count, keys, counts);
  const unsigned threads = static_cast<unsigned>((keys + kWarp - 1) / kWarp * kWarp);
  RETORT_LAUNCH(PrefixKeys, 1, threads, 0, stream, chunks, keys, counts, offsets, loads);
  if (chunks > 0) {
    RETORT_LAUNCH((PlaceKeys<Key, Place>), (chunks + kPlaceWarps - 1) / kPlaceWarps, kPlaceWarps * kWarp, 0,
                  stream, key_of, count, keys, counts, offsets, place);
  }
}

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_COUNTING_SORT_CUH_
