// AdamW with decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019)
// and clipping by global norm. Results are the same bits for any number of threads.
#ifndef STUDENT_OPTIMIZER_ADAMW_H_
#define STUDENT_OPTIMIZER_ADAMW_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "student/device/device_types.h"
#include "student/model/parameters.h"
#include "student/tensor/isa.h"
#include "student/threads/thread_pool.h"

namespace retort::student {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;  // on tensors with decays(): not on norms, embeddings or state
  double clip_norm = 1.0;     // gradients are scaled down to this global norm; 0 = never
};

class AdamW {
 public:
  // Moments start at zero. pool must outlive the optimiser.
  AdamW(std::shared_ptr<const ParameterLayout> layout, const AdamWOptions& options, ThreadPool& pool,
        Isa isa = BestIsa());

  // theta -= learning_rate * (m_hat / (sqrt(v_hat) + epsilon) + weight_decay * theta) for every trained
  // tensor. A tensor whose gradient is zero (an expert no token chose) is stepped like any other: its moments
  // fade and it decays. Returns the global norm of the gradients before clipping. If that is not finite
  // nothing is changed, the step is not counted, and the caller must stop or skip. Same layout for all
  // (asserted).
  double Step(ParameterSet* parameters, const Gradients& gradients, double learning_rate);

  // State for checkpoints: both moments and the number of steps taken.
  std::int64_t steps_taken() const { return steps_taken_; }
  ParameterSet& first_moment() { return first_moment_; }
  const ParameterSet& first_moment() const { return first_moment_; }
  ParameterSet& second_moment() { return second_moment_; }
  const ParameterSet& second_moment() const { return second_moment_; }
  void SetStepsTaken(std::int64_t steps) { steps_taken_ = steps; }
  const AdamWOptions& options() const { return options_; }

 private:
  AdamWOptions options_;
  ThreadPool& pool_;
  Isa isa_;
  std::int64_t steps_taken_ = 0;
  ParameterSet first_moment_;
  ParameterSet second_moment_;
};

// The device twin. Parameters, gradients and moments are allocations of one layout in device memory; the host
// never waits, so that the count of steps and the outcome live there too.
struct AdamWLeaf {
  std::int64_t offset;  // of the leaf's first value in a ParameterSet's storage
  std::int32_t count;   // 1 .. 4096
  std::int32_t decays;  // 0 or 1
};

// All trained tensors in name order, cut into leaves; computed once on the host and copied to the device.
struct AdamWPlan {
  std::vector<AdamWLeaf> leaves;
  std::vector<std::int32_t> tensor_leaves;  // [tensors + 1]: tensor i has leaves tensor_leaves[i] .. [i + 1]
};
AdamWPlan PlanAdamW(const ParameterLayout& layout);

// One step's inputs and outcome, in device memory. The host writes the inputs before each step (by a copy on
// the stream, so that a captured graph can be replayed), steps_taken when a checkpoint is restored, and reads
// the rest when it reports.
struct AdamWStep {
  double learning_rate;     // input
  double expert_bias_rate;  // input, for UpdateExpertBias
  std::int64_t steps_taken;
  double norm;           // outcome: of the gradients before clipping
  std::int32_t applied;  // outcome: 1, or 0 when the norm was not finite and nothing was changed
  float gradient_scale, step, root_correction, decay;  // derived: see AdamWCoefficients
};

struct DeviceAdamW {
  const AdamWLeaf* leaves;            // of the plan
  const std::int32_t* tensor_leaves;  // of the plan
  std::int32_t leaf_count, tensor_count;
  const float* gradients;
  float* parameters;  // fp32 masters
  Bf16* rounded;      // null, or a copy of the parameters with the same offsets, written in the same pass
  float* first_moment;
  float* second_moment;
  double* workspace;  // [leaf_count]
  AdamWStep* step;
};

// GlobalNorm into step->norm: the same leaves, tree and order, and so the same bits as on the CPU.
void GlobalNorm(Stream stream, const DeviceAdamW& tensors);

// After GlobalNorm (of all ranks' gradients): clips, steps every trained tensor and counts the step, or, if
// step->norm is not finite, clears step->applied and changes nothing else.
void StepAdamW(Stream stream, const AdamWOptions& options, const DeviceAdamW& tensors);

// The same two on the CPU, over storages of one layout, wherever they lie. StepAdamW is AdamW::Step without
// the norm and the count: norm is finite, steps_taken counts the steps before this one.
double GlobalNorm(const ParameterLayout& layout, const float* gradients, ThreadPool& pool);
void StepAdamW(const AdamWOptions& options, const ParameterLayout& layout, const float* gradients,
               double norm, double learning_rate, std::int64_t steps_taken, float* parameters,
               float* first_moment, float* second_moment, ThreadPool& pool, Isa isa);

// Square root of the sum of squares of all trained tensors: each tensor summed in fp64 over a fixed tree of
// 4,096-value leaves, tensors added in name order.
double GlobalNorm(const Gradients& gradients, ThreadPool& pool);

}  // namespace retort::student

#endif  // STUDENT_OPTIMIZER_ADAMW_H_
