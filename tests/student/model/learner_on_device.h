// A student that learns on a backend, step by step, for tests that compare devices.
#ifndef TESTS_STUDENT_MODEL_LEARNER_ON_DEVICE_H_
#define TESTS_STUDENT_MODEL_LEARNER_ON_DEVICE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "student/device/cuda/cuda_backend.h"
#include "student/model/learner.h"
#include "student/optimizer/schedule.h"
#include "tests/student/model/random_batch.h"

namespace retort::student {

inline std::unique_ptr<Backend> OpenOrFail(Element element) {
  std::string problem;
  auto backend = OpenCudaBackend(0, element, &problem);
  EXPECT_NE(backend, nullptr) << problem;
  return backend;
}

// How far a device's loss may be from the CPU's after t steps, for products whose operands have a unit
// roundoff u.
//
// One pass: each of the stages that a value goes through (eight products and norms per layer and direction)
// adds a relative error of about 4 * sqrt(k) * u for sums of k terms (Higham and Mary 2019: sums of random
// rounding errors), or u alone where operands are rounded once; k is at most the widest row. Relative to
// logits and gradients of size about one that is rho. Each step: AdamW moves every weight by at most 2 *
// rate, and one whose gradient g is off by e moves wrong by at most 2 * rate * e / |g|, which changes the
// loss by at most 2 * rate * e: in all 2 * rate * rho * |g|_1 <= 2 * rate * rho * sqrt(P) * |g|_2, with |g|_2
// clipped to 1.
inline double Rho(const ModelConfig& config, double u) {
  const double widest =
      std::max({config.hidden, config.dense_width, config.vocabulary, 2 * config.shared_width()});
  const double sums = 4 * std::sqrt(widest) * 0x1p-24;
  return 16 * config.all_layers() * sums + std::sqrt(16.0 * config.all_layers()) * u;
}
inline double LossBound(const ModelConfig& config, double u, int step) {
  const double rate = 1e-3, parameters = static_cast<double>(CountParameters(config).total);
  return Rho(config, u) * (1 + step * 2 * rate * std::sqrt(parameters));
}

// Uneven documents that come again every fifth step; then two micro-batches, else one, since the rig is slow.
inline std::vector<PackedBatch> BatchesOfStep(const ModelConfig& config, int step) {
  const unsigned seed = 10u + static_cast<unsigned>(step % 5);
  std::vector<PackedBatch> batches = {RandomBatch(config, {9, 1, 3}, 4, seed)};
  if (step % 5 == 0) batches.push_back(RandomBatch(config, {2, 7}, 4, seed + 1000));
  return batches;
}

inline TrainingState StartState(const std::shared_ptr<const ParameterLayout>& layout, std::uint64_t seed) {
  TrainingState state{ParameterSet(layout), ParameterSet(layout), ParameterSet(layout), 0};
  InitializeParameters(seed, &state.weights);
  return state;
}

class LearnerOnDevice {
 public:
  LearnerOnDevice(const std::shared_ptr<const ParameterLayout>& layout, std::unique_ptr<Backend> backend,
                  bool recompute = false)
      : config_(layout->config()),
        backend_(std::move(backend)),
        learner_(layout, AdamWOptions{}, *backend_, nullptr) {
    EXPECT_TRUE(learner_.Reserve(
        {.limits = {.positions = 16, .rows = 16, .documents = 3, .teacher_k = 4}, .recompute = recompute}))
        << backend_->failure();
  }

  LearnedStep Step(int step) {
    const std::vector<PackedBatch> batches = BatchesOfStep(config_, step);
    const Schedule schedule = {.peak = 1e-3, .warmup_steps = 5, .total_steps = 50};
    const LearnedStep result =
        learner_.Step(batches, {{0.1f, 1e-3f}, LearningRate(schedule, step), ExpertBiasRate(step, 50)});
    EXPECT_TRUE(result.ok) << backend_->failure();
    return result;
  }

  Learner& learner() { return learner_; }
  Backend& backend() { return *backend_; }

 private:
  const ModelConfig& config_;
  std::unique_ptr<Backend> backend_;
  Learner learner_;
};

}  // namespace retort::student

#endif  // TESTS_STUDENT_MODEL_LEARNER_ON_DEVICE_H_
