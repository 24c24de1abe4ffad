#include "tests/cuda_on_cpu/reduction.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cuda_bf16.h"

namespace retort::cuda_on_cpu {
namespace {

template <class T>
T Combine(ncclRedOp_t op, T a, T b) {
  switch (op) {
    case ncclProd:
      return static_cast<T>(a * b);
    case ncclMax:
      return std::max(a, b);
    case ncclMin:
      return std::min(a, b);
    default:
      return static_cast<T>(a + b);
  }
}

// Stored as Stored, combined as Value.
template <class Stored, class Value, class Load, class Store>
void ReduceAs(ncclRedOp_t op, const char* const* parts, int ranks, char* target, std::size_t count, Load load,
              Store store) {
  for (std::size_t i = 0; i < count; ++i) {
    Stored element;
    std::memcpy(&element, parts[0] + i * sizeof(Stored), sizeof(Stored));
    Value value = load(element);
    for (int rank = 1; rank < ranks; ++rank) {
      std::memcpy(&element, parts[rank] + i * sizeof(Stored), sizeof(Stored));
      value = Combine(op, value, load(element));
    }
    if (op == ncclAvg) value = static_cast<Value>(value / static_cast<Value>(ranks));
    element = store(value);
    std::memcpy(target + i * sizeof(Stored), &element, sizeof(Stored));
  }
}

template <class T>
void ReducePlain(ncclRedOp_t op, const char* const* parts, int ranks, char* target, std::size_t count) {
  const auto same = [](T x) { return x; };
  ReduceAs<T, T>(op, parts, ranks, target, count, same, same);
}

}  // namespace

std::size_t BytesOf(ncclDataType_t type) {
  switch (type) {
    case ncclInt8:
    case ncclUint8:
      return 1;
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
      return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
      return 8;
  }
  return 0;
}

void Reduce(ncclDataType_t type, ncclRedOp_t op, const char* const* parts, int ranks, char* target,
            std::size_t count) {
  switch (type) {
    case ncclInt8:
      return ReducePlain<std::int8_t>(op, parts, ranks, target, count);
    case ncclUint8:
      return ReducePlain<std::uint8_t>(op, parts, ranks, target, count);
    case ncclInt32:
      return ReducePlain<std::int32_t>(op, parts, ranks, target, count);
    case ncclUint32:
      return ReducePlain<std::uint32_t>(op, parts, ranks, target, count);
    case ncclInt64:
      return ReducePlain<std::int64_t>(op, parts, ranks, target, count);
    case ncclUint64:
      return ReducePlain<std::uint64_t>(op, parts, ranks, target, count);
    case ncclFloat32:
      return ReducePlain<float>(op, parts, ranks, target, count);
    case ncclFloat64:
      return ReducePlain<double>(op, parts, ranks, target, count);
    case ncclBfloat16:
      return ReduceAs<__nv_bfloat16, float>(op, parts, ranks, target, count, __bfloat162float,
                                            __float2bfloat16_rn);
  }
}

}  // namespace retort::cuda_on_cpu
