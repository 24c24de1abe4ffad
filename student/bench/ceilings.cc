#include "student/bench/ceilings.h"

#include <algorithm>
#include <string_view>

#include "student/bench/bench_memory.h"

namespace retort::student {

Ceilings MeasureCeilings(Backend& backend, std::int64_t size, double seconds) {
  Ceilings ceilings;
  BenchMemory memory(backend);
  const Values a = memory.Activations(size * size), b = memory.Activations(size * size);
  const Values c = memory.Activations(size * size);
  for (std::int64_t n = size; n >= size / 2; n /= 2) {
    const Product product = Linear(a, n, b, c, n, n, static_cast<int>(n), static_cast<int>(n));
    const double cubed = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    ceilings.flops = std::max(ceilings.flops, 2 * cubed / SecondsPerCall(backend, seconds, [&] {
                                                backend.MatMul(std::span(&product, 1));
                                              }));
  }
  const float* const from = memory.Floats(size * size);
  float* const to = memory.Zeros<float>(size * size);
  const std::int64_t bytes = size * size * 4;
  ceilings.bytes = 2 * static_cast<double>(bytes) /
                   SecondsPerCall(backend, seconds, [&] { backend.Copy(from, bytes, to); });
  return ceilings;
}

double StatedPeak(const DeviceDescription& description) {
  if (description.compute != "bf16") return 0;
  // NVIDIA's data sheets, bf16 tensor cores without sparsity, SXM boards. The longer name comes first.
  constexpr struct {
    std::string_view name;
    double flops;
  } kStated[] = {{"GB200", 2.5e15},     {"B200", 2.25e15}, {"H200", 989e12},
                 {"H100 PCIe", 756e12}, {"H100", 989e12},  {"A100", 312e12}};
  for (const auto& device : kStated) {
    if (description.name.find(device.name) != std::string::npos) return device.flops;
  }
  return 0;
}

}  // namespace retort::student
