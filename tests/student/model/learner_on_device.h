// A student that learns on a backend, step by step, for tests that compare devices.
#ifndef TESTS_STUDENT_MODEL_LEARNER_ON_DEVICE_H_
#define TESTS_STUDENT_MODEL_LEARNER_ON_DEVICE_H_

#include <gtest/gtest.h>

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
