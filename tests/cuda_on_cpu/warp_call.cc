#include "tests/cuda_on_cpu/warp_call.h"

#include <algorithm>
#include <bit>

namespace retort::cuda_on_cpu {
namespace {

// The lane whose value `self` reads (programming guide, "Warp Shuffle Functions").
int SourceLane(WarpKind kind, int self, int lane, int width) {
  const int first = self & ~(width - 1);
  int source = self;
  switch (kind) {
    case WarpKind::kIndex:
      return first + (lane & (width - 1));
    case WarpKind::kUp:
      source = self - lane;
      return source < first ? self : source;
    case WarpKind::kDown:
      source = self + lane;
      return source >= first + width ? self : source;
    default:  // kXor: may read an earlier group, never a later one
      source = self ^ lane;
      return source >= first + width ? self : source;
  }
}

std::uint32_t Combine(WarpKind kind, bool is_signed, std::uint32_t a, std::uint32_t b) {
  const bool less = is_signed ? static_cast<std::int32_t>(a) < static_cast<std::int32_t>(b) : a < b;
  switch (kind) {
    case WarpKind::kAdd:
      return a + b;
    case WarpKind::kMin:
      return less ? a : b;
    case WarpKind::kMax:
      return less ? b : a;
    case WarpKind::kAnd:
      return a & b;
    default:
      return a | b;
  }
}

}  // namespace

int CompleteWarpCall(WarpCall* const calls[kWarpThreads], unsigned lanes) {
  const WarpKind kind = calls[std::countr_zero(lanes)]->kind;
  std::uint32_t combined = 0;
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const int self = std::countr_zero(rest);
    WarpCall& call = *calls[self];
    switch (kind) {
      case WarpKind::kSync:
        break;
      case WarpKind::kBallot:
        combined |= static_cast<std::uint32_t>(call.bits) << self;
        break;
      case WarpKind::kIndex:
      case WarpKind::kUp:
      case WarpKind::kDown:
      case WarpKind::kXor: {
        const int source = SourceLane(kind, self, call.lane, call.width);
        if (source < 0 || source >= kWarpThreads || (lanes >> source & 1u) == 0) return self;
        call.result = calls[source]->bits;
        break;
      }
      case WarpKind::kMatch: {
        std::uint32_t equal = 0;
        for (unsigned other = lanes; other != 0; other &= other - 1) {
          const int at = std::countr_zero(other);
          equal |= static_cast<std::uint32_t>(calls[at]->bits == call.bits) << at;
        }
        call.result = equal;
        break;
      }
      default: {
        const auto bits = static_cast<std::uint32_t>(call.bits);
        combined = rest == lanes ? bits : Combine(kind, call.is_signed, combined, bits);
      }
    }
  }
  if (kind == WarpKind::kBallot || (kind >= WarpKind::kAdd && kind <= WarpKind::kOr)) {
    for (unsigned rest = lanes; rest != 0; rest &= rest - 1) calls[std::countr_zero(rest)]->result = combined;
  }
  return -1;
}

const char* NameOf(WarpKind kind) {
  switch (kind) {
    case WarpKind::kSync:
      return "__syncwarp";
    case WarpKind::kBallot:
      return "__ballot_sync, __any_sync or __all_sync";
    case WarpKind::kMatch:
      return "__match_any_sync";
    case WarpKind::kIndex:
    case WarpKind::kUp:
    case WarpKind::kDown:
    case WarpKind::kXor:
      return "__shfl_*_sync";
    default:
      return "__reduce_*_sync";
  }
}

}  // namespace retort::cuda_on_cpu
