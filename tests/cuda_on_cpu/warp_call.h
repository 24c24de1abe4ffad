// What the lanes of a warp bring to a warp operation, and what each gets back; the same for both back ends.
#ifndef TESTS_CUDA_ON_CPU_WARP_CALL_H_
#define TESTS_CUDA_ON_CPU_WARP_CALL_H_

#include <cstdint>

#include "cuda_on_cpu/warp.h"

namespace retort::cuda_on_cpu {

constexpr int kWarpThreads = 32;

struct WarpCall {
  WarpKind kind = WarpKind::kSync;
  unsigned mask = 0;
  std::uint64_t bits = 0;
  int lane = 0;  // or delta, or lane mask
  int width = 32;
  bool is_signed = false;
  Site site = {nullptr, 0};
  std::uint64_t result = 0;
};

// One warp's lanes at an operation. `lanes` are those that take part: named by the mask and not exited.
// Fills result for each; returns -1, or the lane that reads one that takes no part.
int CompleteWarpCall(WarpCall* const calls[kWarpThreads], unsigned lanes);

const char* NameOf(WarpKind kind);

inline bool SameSite(Site a, Site b) {
  return a.line == b.line && a.file == b.file;
}

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_WARP_CALL_H_
