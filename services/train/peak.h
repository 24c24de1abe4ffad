// What a device could do at most: the denominator of MFU.
#ifndef SERVICES_TRAIN_PEAK_H_
#define SERVICES_TRAIN_PEAK_H_

#include <optional>
#include <string_view>

namespace retort::train {

// Floating-point operations per second of this machine's fp32 matrix product with `threads` threads (0: all
// cores): the best of a few products of a size that stays in the caches, for at most `seconds` and at least
// one product. A product of our own, so that MFU says what the rest of a step costs, and not what another
// library would reach.
double MeasureCpuPeak(int threads, double seconds);

// Dense bf16 tensor-core operations per second of an NVIDIA device, by the name that NVML or CUDA gives it,
// from NVIDIA's data sheets (without sparsity). Nothing for a device that is not listed.
std::optional<double> KnownBf16Peak(std::string_view device_name);

}  // namespace retort::train

#endif  // SERVICES_TRAIN_PEAK_H_
