// What a measurement allocates on a backend, freed together when it ends, and how it takes time.
#ifndef STUDENT_BENCH_BENCH_MEMORY_H_
#define STUDENT_BENCH_BENCH_MEMORY_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "student/device/backend.h"

namespace retort::student {

// Numbers in [-scale, scale], the same for the same count, at most 2^18: to be repeated, since only their
// being neither constant nor zero matters here (constant operands draw less power and run faster).
inline std::vector<float> BenchPattern(std::int64_t count, float scale) {
  std::vector<float> pattern(static_cast<std::size_t>(std::min(count, std::int64_t{1} << 18)));
  std::uint32_t state = 12345;
  for (float& value : pattern) {
    state = state * 1664525u + 1013904223u;
    value = scale * (static_cast<float>(state >> 8) / 8388608.0f - 1);
  }
  return pattern;
}

class BenchMemory {
 public:
  // backend must outlive it.
  explicit BenchMemory(Backend& backend) : backend_(backend) {}
  ~BenchMemory() {
    backend_.Finish();
    for (void* memory : owned_) backend_.Free(memory);
  }
  BenchMemory(const BenchMemory&) = delete;
  BenchMemory& operator=(const BenchMemory&) = delete;

  // Zeros. Ends the program with the backend's numbers when they do not fit: there is nothing left to
  // measure.
  template <typename T>
  T* Zeros(std::int64_t count) {
    const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(T));
    void* const memory = backend_.Allocate(bytes);
    if (memory == nullptr) {
      std::fprintf(stderr, "device_bench: %s\n", backend_.failure().c_str());
      std::exit(1);
    }
    owned_.push_back(memory);
    backend_.Zero(memory, bytes);
    return static_cast<T*>(memory);
  }
  template <typename T>
  T* Copy(std::span<const T> host) {
    T* const memory = Zeros<T>(static_cast<std::int64_t>(host.size()));
    backend_.Upload(host.data(), static_cast<std::int64_t>(host.size_bytes()), memory);
    return memory;
  }
  // BenchPattern, repeated.
  float* Floats(std::int64_t count, float scale = 1) {
    float* const memory = Zeros<float>(count);
    const std::vector<float> pattern = BenchPattern(count, scale);
    const auto length = static_cast<std::int64_t>(pattern.size());
    for (std::int64_t at = 0; at < count; at += length) {
      backend_.Upload(pattern.data(), std::min(count - at, length) * 4, memory + at);
    }
    return memory;
  }
  // The same in the type of activations.
  Values Activations(std::int64_t count, float scale = 1) {
    float* const values = Floats(count, scale);
    if (backend_.activation() == Element::kF32) return values;
    return backend_.Convert(values, count, {Zeros<Bf16>(count), Element::kBf16});
  }

 private:
  Backend& backend_;
  std::vector<void*> owned_;
};

// Seconds of one call, the best of three runs of at least `seconds` / 3 each after one call that only touches
// the memory. The device's clock is not asked: what a call costs includes what the host does for it.
template <typename Function>
double SecondsPerCall(Backend& backend, double seconds, const Function& call) {
  using Clock = std::chrono::steady_clock;
  const auto run = [&](std::int64_t calls) {
    const auto start = Clock::now();
    for (std::int64_t i = 0; i < calls; ++i) call();
    backend.Finish();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  run(1);
  std::int64_t calls = 1;
  double elapsed = run(1);
  for (; elapsed < seconds / 3 && calls < 100000; elapsed = run(calls)) {
    calls =
        elapsed <= 0
            ? calls * 16
            : std::clamp(static_cast<std::int64_t>(1.2 * seconds / 3 / elapsed * static_cast<double>(calls)),
                         calls + 1, calls * 16);
  }
  for (int i = 0; i < 2; ++i) elapsed = std::min(elapsed, run(calls));
  return elapsed / static_cast<double>(calls);
}

}  // namespace retort::student

#endif  // STUDENT_BENCH_BENCH_MEMORY_H_
