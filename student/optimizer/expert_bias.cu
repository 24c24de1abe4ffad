#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/reduce.cuh"
#include "student/optimizer/expert_bias.h"

namespace retort::student {
namespace {

constexpr int kThreads = 256;

// One block; neighbouring threads have neighbouring experts.
__global__ void UpdateExpertBiasKernel(const std::int64_t* loads, int experts, const AdamWStep* step,
                                       float* bias) {
  __shared__ long long warps[kWarp];
  if (step->applied == 0) return;
  long long total = 0;
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += kThreads) total += loads[e];
  total = BlockSum(total, warps);
  const float rate = static_cast<float>(step->expert_bias_rate);
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += kThreads) {
    // In whole numbers: mean - load has the sign of total - experts * load.
    const long long difference = total - static_cast<long long>(experts) * loads[e];
    if (difference > 0) bias[e] += rate;
    if (difference < 0) bias[e] -= rate;
  }
}

}  // namespace

void UpdateExpertBias(Stream stream, const std::int64_t* loads, int experts, const AdamWStep* step,
                      float* bias) {
  RETORT_LAUNCH(UpdateExpertBiasKernel, 1, kThreads, 0, stream, loads, experts, step, bias);
}

}  // namespace retort::student
