// Device memory for the cases: made from a host vector, read back into one. Only cudaMalloc, cudaMemcpy and
// cudaFree: the device may be a real one or tests/cuda_on_cpu.
#ifndef TESTS_STUDENT_DEVICE_OPS_DEVICE_ARRAY_H_
#define TESTS_STUDENT_DEVICE_OPS_DEVICE_ARRAY_H_

#include <cuda_runtime.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "student/device/device_types.h"

namespace retort::student {

inline void RequireCuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

// The stream of all cases.
inline Stream TestStream() {
  static const cudaStream_t stream = [] {
    cudaStream_t made = nullptr;
    RequireCuda(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "cudaStreamCreate");
    return made;
  }();
  return {stream};
}

inline double ToDouble(Bf16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}
template <typename T>
double ToDouble(T value) {
  return static_cast<double>(value);
}

// To nearest, ties to even; not for NaN.
inline Bf16 RoundedToBf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return {static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline void Assign(double value, float* out) {
  *out = static_cast<float>(value);
}
inline void Assign(double value, Bf16* out) {
  *out = RoundedToBf16(static_cast<float>(value));
}
template <typename T>
double Rounded(double value) {
  T rounded;
  Assign(value, &rounded);
  return ToDouble(rounded);
}

// Uniform in [-scale, scale), rounded to T.
template <typename T>
std::vector<T> Numbers(std::size_t count, unsigned seed, double scale = 1) {
  std::mt19937 random(seed);
  std::vector<T> values(count);
  for (T& value : values) Assign(scale * (static_cast<double>(random()) / 2147483648.0 - 1.0), &value);
  return values;
}

template <typename T>
std::vector<double> Doubles(const std::vector<T>& values) {
  std::vector<double> exact;
  exact.reserve(values.size());
  for (const T value : values) exact.push_back(ToDouble(value));
  return exact;
}

template <typename T>
class DeviceArray {
 public:
  // Room for count values; contents undefined. `shift` values of room before the first make it less aligned.
  explicit DeviceArray(std::size_t count, std::size_t shift = 0) : count_(count), shift_(shift) {
    RequireCuda(cudaMalloc(&memory_, (count + shift + (count + shift == 0)) * sizeof(T)), "cudaMalloc");
  }
  explicit DeviceArray(const std::vector<T>& values, std::size_t shift = 0)
      : DeviceArray(values.size(), shift) {
    if (count_ > 0) {
      RequireCuda(cudaMemcpy(data(), values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice),
                  "cudaMemcpy");
    }
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { RequireCuda(cudaFree(memory_), "cudaFree"); }

  T* data() { return memory_ + shift_; }

  // After all work on the test's stream; a launch that was refused ends the program here.
  std::vector<T> Read() {
    RequireCuda(cudaGetLastError(), "a launch");
    RequireCuda(cudaStreamSynchronize(static_cast<cudaStream_t>(TestStream().handle)),
                "cudaStreamSynchronize");
    std::vector<T> values(count_);
    if (count_ > 0) {
      RequireCuda(cudaMemcpy(values.data(), data(), count_ * sizeof(T), cudaMemcpyDeviceToHost),
                  "cudaMemcpy");
    }
    return values;
  }
  std::vector<double> Doubles() { return student::Doubles(Read()); }

 private:
  T* memory_ = nullptr;
  std::size_t count_, shift_;
};

}  // namespace retort::student

#endif  // TESTS_STUDENT_DEVICE_OPS_DEVICE_ARRAY_H_
