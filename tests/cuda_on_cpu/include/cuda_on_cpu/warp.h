// Warp operations. A warp is 32 consecutive threads of a block in the order x, y, z; the last one may be
// short.
//
// All lanes named by the mask must reach the same operation, at the same line, with the same mask; a lane
// that exits, waits at the block's barrier or comes with another mask instead is reported, where a device
// would be undefined. Reading from a lane outside the mask is undefined on a device; here it is reported too.
#ifndef TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_WARP_H_
#define TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_WARP_H_

#include <cstdint>
#include <cstring>
#include <source_location>

#include "thread.h"

namespace retort::cuda_on_cpu {

enum class WarpKind : std::uint8_t {
  kSync,
  kBallot,
  kIndex,
  kUp,
  kDown,
  kXor,
  kAdd,
  kMin,
  kMax,
  kAnd,
  kOr,
  kMatch
};

// Gives `bits` for this lane and returns what the operation gives back to it. `lane` and `width` are those of
// the shuffle functions; kSigned says that kMin and kMax compare signed.
std::uint64_t WarpExchange(WarpKind kind, unsigned mask, std::uint64_t bits, int lane, int width,
                           bool is_signed, Site site);

template <class T>
T Shuffle(WarpKind kind, unsigned mask, T value, int lane, int width, const std::source_location& where) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a device shuffles numbers of 4 or 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = WarpExchange(kind, mask, bits, lane, width, false, SiteOf(where));
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
T Reduce(WarpKind kind, unsigned mask, T value, const std::source_location& where) {
  const std::uint64_t bits = static_cast<std::uint32_t>(value);
  const bool is_signed = static_cast<T>(-1) < static_cast<T>(0);
  return static_cast<T>(WarpExchange(kind, mask, bits, 0, 32, is_signed, SiteOf(where)));
}

}  // namespace retort::cuda_on_cpu

#define RETORT_CUDA_ON_CPU_WHERE const std::source_location& where = std::source_location::current()

inline void __syncwarp(unsigned mask = 0xffffffffu, RETORT_CUDA_ON_CPU_WHERE) {
  using namespace retort::cuda_on_cpu;
  WarpExchange(WarpKind::kSync, mask, 0, 0, 32, false, SiteOf(where));
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, RETORT_CUDA_ON_CPU_WHERE) {
  using namespace retort::cuda_on_cpu;
  return Shuffle(WarpKind::kIndex, mask, value, lane, width, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, RETORT_CUDA_ON_CPU_WHERE) {
  using namespace retort::cuda_on_cpu;
  return Shuffle(WarpKind::kUp, mask, value, static_cast<int>(delta), width, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, RETORT_CUDA_ON_CPU_WHERE) {
  using namespace retort::cuda_on_cpu;
  return Shuffle(WarpKind::kDown, mask, value, static_cast<int>(delta), width, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, RETORT_CUDA_ON_CPU_WHERE) {
  using namespace retort::cuda_on_cpu;
  return Shuffle(WarpKind::kXor, mask, value, lane_mask, width, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, RETORT_CUDA_ON_CPU_WHERE) {
  using namespace retort::cuda_on_cpu;
  return static_cast<unsigned>(
      WarpExchange(WarpKind::kBallot, mask, predicate != 0, 0, 32, false, SiteOf(where)));
}
inline int __any_sync(unsigned mask, int predicate, RETORT_CUDA_ON_CPU_WHERE) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, RETORT_CUDA_ON_CPU_WHERE) {
  return __ballot_sync(mask, predicate, where) == mask;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, RETORT_CUDA_ON_CPU_WHERE) {
  using namespace retort::cuda_on_cpu;
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return static_cast<unsigned>(WarpExchange(WarpKind::kMatch, mask, bits, 0, 32, false, SiteOf(where)));
}
// Reductions of 32-bit integers (compute capability 8.0).
inline int __reduce_add_sync(unsigned mask, int value, RETORT_CUDA_ON_CPU_WHERE) {
  return retort::cuda_on_cpu::Reduce(retort::cuda_on_cpu::WarpKind::kAdd, mask, value, where);
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, RETORT_CUDA_ON_CPU_WHERE) {
  return retort::cuda_on_cpu::Reduce(retort::cuda_on_cpu::WarpKind::kAdd, mask, value, where);
}
inline int __reduce_min_sync(unsigned mask, int value, RETORT_CUDA_ON_CPU_WHERE) {
  return retort::cuda_on_cpu::Reduce(retort::cuda_on_cpu::WarpKind::kMin, mask, value, where);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, RETORT_CUDA_ON_CPU_WHERE) {
  return retort::cuda_on_cpu::Reduce(retort::cuda_on_cpu::WarpKind::kMin, mask, value, where);
}
inline int __reduce_max_sync(unsigned mask, int value, RETORT_CUDA_ON_CPU_WHERE) {
  return retort::cuda_on_cpu::Reduce(retort::cuda_on_cpu::WarpKind::kMax, mask, value, where);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, RETORT_CUDA_ON_CPU_WHERE) {
  return retort::cuda_on_cpu::Reduce(retort::cuda_on_cpu::WarpKind::kMax, mask, value, where);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value, RETORT_CUDA_ON_CPU_WHERE) {
  return retort::cuda_on_cpu::Reduce(retort::cuda_on_cpu::WarpKind::kAnd, mask, value, where);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, RETORT_CUDA_ON_CPU_WHERE) {
  return retort::cuda_on_cpu::Reduce(retort::cuda_on_cpu::WarpKind::kOr, mask, value, where);
}
#undef RETORT_CUDA_ON_CPU_WHERE

#endif  // TESTS_CUDA_ON_CPU_INCLUDE_CUDA_ON_CPU_WARP_H_
