// AdamW with decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019)
// and clipping by global norm. Results are the same bits for any number of threads.
#ifndef STUDENT_OPTIMIZER_ADAMW_H_
#define STUDENT_OPTIMIZER_ADAMW_H_

#include <cstdint>
#include <memory>

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

// Square root of the sum of squares of all trained tensors: each tensor summed in fp64 over a fixed tree of
// 4,096-value leaves, tensors added in name order.
double GlobalNorm(const Gradients& gradients, ThreadPool& pool);

}  // namespace retort::student

#endif  // STUDENT_OPTIMIZER_ADAMW_H_
