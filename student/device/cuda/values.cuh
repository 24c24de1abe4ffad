// Reading and writing device values of either storage type, one at a time or four neighbours at once. All
// arithmetic is on floats; a Bf16 is rounded to nearest, ties to even, when stored.
#ifndef STUDENT_DEVICE_CUDA_VALUES_CUH_
#define STUDENT_DEVICE_CUDA_VALUES_CUH_

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "student/device/device_types.h"

namespace retort::student {

__device__ inline float ToFloat(float value) {
  return value;
}
__device__ inline float ToFloat(Bf16 value) {
  return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
}

__device__ inline void Round(float value, float* out) {
  *out = value;
}
__device__ inline void Round(float value, Bf16* out) {
  out->bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

// kWidth neighbouring values, kWidth = 1 or 4. Four are one access of 16 or 8 bytes and must be aligned to
// it.
template <int kWidth, typename T>
struct alignas(kWidth * sizeof(T)) Stored {
  T v[kWidth];
};

template <int kWidth>
struct Pack {
  float v[kWidth];
};

template <int kWidth, typename T>
__device__ inline Pack<kWidth> Load(const T* at) {
  const Stored<kWidth, T> stored = *reinterpret_cast<const Stored<kWidth, T>*>(at);
  Pack<kWidth> values;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) values.v[i] = ToFloat(stored.v[i]);
  return values;
}

template <int kWidth, typename T>
__device__ inline void Store(const Pack<kWidth>& values, T* at) {
  Stored<kWidth, T> stored;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) Round(values.v[i], &stored.v[i]);
  *reinterpret_cast<Stored<kWidth, T>*>(at) = stored;
}

// Host side: whether rows that lie `stride` values apart can be read four values at a time.
template <typename T>
bool AlignedByFour(const T* first, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(first) % (4 * sizeof(T)) == 0 && stride % 4 == 0;
}

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CUDA_VALUES_CUH_
