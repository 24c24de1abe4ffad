#include "services/train/peak.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "student/ops/matmul.h"
#include "student/tensor/compute.h"

namespace retort::train {
namespace {

constexpr int kSize = 512;  // three matrices of 1 MiB

}  // namespace

double MeasureCpuPeak(int threads, double seconds) {
  using Clock = std::chrono::steady_clock;
  student::ThreadPool pool(threads > 0 ? threads : student::ThreadPool::DefaultThreads());
  student::Scratch scratch(pool.size());
  const student::Compute compute = {&pool, &scratch, student::BestIsa()};
  std::vector<float> a(kSize * kSize, 0.5f), b(kSize * kSize, 0.25f), c(kSize * kSize);
  const student::MatrixProduct product =
      student::LinearForward({a.data(), kSize}, {b.data(), kSize}, c.data(), kSize, kSize, kSize, kSize);
  student::MatMul(compute, product);  // touches the memory and wakes the threads
  const auto begun = Clock::now();
  double best = 0;
  do {
    const auto before = Clock::now();
    student::MatMul(compute, product);
    const double elapsed = std::chrono::duration<double>(Clock::now() - before).count();
    best = std::max(best, 2.0 * kSize * kSize * kSize / elapsed);
  } while (std::chrono::duration<double>(Clock::now() - begun).count() < seconds);
  return best;
}

std::optional<double> KnownBf16Peak(std::string_view device_name) {
  // The first name that occurs in the device's own is taken, so special forms stand before their family.
  static constexpr std::pair<std::string_view, double> kTeraflops[] = {
      {"GB200", 2500},   {"B200", 2250}, {"H200", 989}, {"GH200", 989}, {"H100 PCIe", 756},
      {"H100 NVL", 835}, {"H100", 989},  {"H800", 989}, {"A100", 312},  {"A800", 312},
      {"L40S", 362},     {"L4", 121},    {"A40", 150},  {"A30", 165},   {"A10", 125},
  };
  for (const auto& [name, teraflops] : kTeraflops) {
    const size_t at = device_name.find(name);
    if (at == std::string_view::npos) continue;
    const size_t end = at + name.size();
    const bool whole = end == device_name.size() || device_name[end] == ' ' || device_name[end] == '-';
    const bool begins = at == 0 || device_name[at - 1] == ' ';
    if (whole && begins) return teraflops * 1e12;
  }
  return std::nullopt;
}

}  // namespace retort::train
