#include "student/device/cuda/launch.cuh"
#include "student/device/cuda/reduce.cuh"
#include "student/device/cuda/values.cuh"
#include "student/optimizer/adamw.h"

namespace retort::student {
namespace {

constexpr int kThreads = 256;
constexpr int kLeafLanes = 8;  // sums that run side by side within a leaf, as on the CPU

// Eight neighbouring threads have one leaf: thread i adds the squares of values i, i + 8, … in fp64, then the
// first one adds the eight. The square of a float is exact in fp64, so a fused multiply-add changes no bit.
__global__ void SumLeaves(const AdamWLeaf* leaves, std::int32_t count, const float* gradients, double* sums) {
  __shared__ double parts[kThreads];
  const std::int32_t leaf = static_cast<std::int32_t>(blockIdx.x) * (kThreads / kLeafLanes) +
                            static_cast<std::int32_t>(threadIdx.x) / kLeafLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLeafLanes;
  double sum = 0;
  if (leaf < count) {
    const float* const values = gradients + leaves[leaf].offset;
    const int size = leaves[leaf].count;
#pragma unroll 8
    for (int i = lane; i < size; i += kLeafLanes) {
      const double value = values[i];
      sum += value * value;
    }
  }
  parts[threadIdx.x] = sum;
  __syncthreads();
  if (leaf >= count || lane > 0) return;
  sum = 0;
  for (int i = 0; i < kLeafLanes; ++i) sum += parts[threadIdx.x + i];
  sums[leaf] = sum;
}

// One block per tensor: neighbours' sums, then neighbours of those, until one is left at the tensor's first
// leaf. A sum is written at half its operands' index, which all threads have read by then.
__global__ void SumTensors(const std::int32_t* tensor_leaves, double* sums) {
  double* const own = sums + tensor_leaves[blockIdx.x];
  std::int32_t count = tensor_leaves[blockIdx.x + 1] - tensor_leaves[blockIdx.x];
  for (; count > 1; count = (count + 1) / 2) {
    const std::int32_t pairs = (count + 1) / 2;  // the last may be a single
    for (std::int32_t base = 0; base < pairs; base += kThreads) {
      const std::int32_t i = base + static_cast<std::int32_t>(threadIdx.x);
      double sum = 0;
      if (i < pairs) sum = 2 * i + 1 < count ? own[2 * i] + own[2 * i + 1] : own[2 * i];
      __syncthreads();
      if (i < pairs) own[i] = sum;
      __syncthreads();
    }
  }
}

// One block fetches the tensors' sums, its first thread adds them in order.
__global__ void FinishNorm(const std::int32_t* tensor_leaves, std::int32_t tensors, const double* sums,
                           AdamWStep* step) {
  __shared__ double fetched[kThreads];
  double total = 0;
  for (std::int32_t base = 0; base < tensors; base += kThreads) {
    const std::int32_t i = base + static_cast<std::int32_t>(threadIdx.x);
    if (i < tensors) fetched[threadIdx.x] = sums[tensor_leaves[i]];
    __syncthreads();
    if (threadIdx.x == 0) {
      for (std::int32_t j = 0; j < kThreads && base + j < tensors; ++j) total += fetched[j];
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) step->norm = sqrt(total);
}

__global__ void PrepareStep(AdamWOptions options, AdamWStep* step) {
  step->applied = isfinite(step->norm) ? 1 : 0;
  if (step->applied == 0) return;
  const double steps = static_cast<double>(++step->steps_taken);
  const double scale =
      options.clip_norm > 0 && step->norm > options.clip_norm ? options.clip_norm / step->norm : 1.0;
  step->gradient_scale = static_cast<float>(scale);
  step->step = static_cast<float>(step->learning_rate / (1 - pow(options.beta1, steps)));
  step->root_correction = static_cast<float>(1 / sqrt(1 - pow(options.beta2, steps)));
  step->decay = static_cast<float>(step->learning_rate * options.weight_decay);
}

struct Moments {
  float beta1, beta2, epsilon;
};

// Block per leaf; neighbouring threads have neighbouring groups of four values, the last few of a tensor
// singly.
template <int kWidth>
__device__ inline void StepValues(const Moments& moments, const AdamWStep& step, float decay, std::int64_t at,
                                  const DeviceAdamW& tensors) {
  const Pack<kWidth> gradient = Load<kWidth>(tensors.gradients + at);
  Pack<kWidth> theta = Load<kWidth>(tensors.parameters + at), m = Load<kWidth>(tensors.first_moment + at),
               v = Load<kWidth>(tensors.second_moment + at);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float g = gradient.v[i] * step.gradient_scale;
    m.v[i] = moments.beta1 * m.v[i] + (1.0f - moments.beta1) * g;
    v.v[i] = moments.beta2 * v.v[i] + (1.0f - moments.beta2) * (g * g);
    theta.v[i] -=
        step.step * (m.v[i] / (sqrtf(v.v[i]) * step.root_correction + moments.epsilon)) + decay * theta.v[i];
  }
  Store(theta, tensors.parameters + at);
  Store(m, tensors.first_moment + at);
  Store(v, tensors.second_moment + at);
  if (tensors.rounded != nullptr) Store(theta, tensors.rounded + at);
}

__global__ void StepLeaves(Moments moments, DeviceAdamW tensors) {
  const AdamWStep step = *tensors.step;
  if (step.applied == 0) return;
  const AdamWLeaf leaf = tensors.leaves[blockIdx.x];
  const float decay = leaf.decays != 0 ? step.decay : 0.0f;
  const int whole = leaf.count / 4 * 4;
  for (int i = static_cast<int>(threadIdx.x) * 4; i < whole; i += kThreads * 4)
    StepValues<4>(moments, step, decay, leaf.offset + i, tensors);
  const int rest = whole + static_cast<int>(threadIdx.x);
  if (rest < leaf.count) StepValues<1>(moments, step, decay, leaf.offset + rest, tensors);
}

}  // namespace

void GlobalNorm(Stream stream, const DeviceAdamW& tensors) {
  constexpr int kLeavesPerBlock = kThreads / kLeafLanes;
  if (tensors.leaf_count > 0) {
    RETORT_LAUNCH(SumLeaves, (tensors.leaf_count + kLeavesPerBlock - 1) / kLeavesPerBlock, kThreads, 0,
                  stream, tensors.leaves, tensors.leaf_count, tensors.gradients, tensors.workspace);
    RETORT_LAUNCH(SumTensors, tensors.tensor_count, kThreads, 0, stream, tensors.tensor_leaves,
                  tensors.workspace);
  }
  RETORT_LAUNCH(FinishNorm, 1, kThreads, 0, stream, tensors.tensor_leaves, tensors.tensor_count,
                tensors.workspace, tensors.step);
}

void StepAdamW(Stream stream, const AdamWOptions& options, const DeviceAdamW& tensors) {
  RETORT_LAUNCH(PrepareStep, 1, 1, 0, stream, options, tensors.step);
  if (tensors.leaf_count == 0) return;
  const Moments moments = {static_cast<float>(options.beta1), static_cast<float>(options.beta2),
                           static_cast<float>(options.epsilon)};
  RETORT_LAUNCH(StepLeaves, tensors.leaf_count, kThreads, 0, stream, moments, tensors);
}

}  // namespace retort::student
