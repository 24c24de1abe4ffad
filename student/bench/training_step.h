// Times whole training steps as runs make them (student/model/learner.h): forward, backward, clipping, AdamW,
// balancing of experts.
#ifndef STUDENT_BENCH_TRAINING_STEP_H_
#define STUDENT_BENCH_TRAINING_STEP_H_

#include <cstdint>
#include <string>

#include "student/bench/bench_batch.h"
#include "student/device/backend.h"

namespace retort::student {

struct StepTime {
  std::int64_t tokens = 0;       // of one step
  double seconds = 0;            // of one step, the median
  double optimizer_seconds = 0;  // of them, from the norm's end to the balanced experts
  double flops = 0;        // of one step (TrainingFlopsPerToken): what MFU counts, recomputation not among it
  double loss = 0;         // after the last step, for a glance: finite, and falling
  std::int64_t bytes = 0;  // of the device's memory: weights, their state, buffers, working memory
  bool recompute = false;  // activations were computed again, since keeping them would not have fitted
  std::string refusal;     // why nothing was measured; empty otherwise
};

// One micro-batch a step. `steps` >= 1 are timed after three that are not. Needs the weights once in host
// memory, to begin with. Ends the program with the backend's sentence if the device fails in mid-run.
StepTime MeasureTrainingStep(Backend& backend, const ModelConfig& config, const BatchShape& shape, int steps);

}  // namespace retort::student

#endif  // STUDENT_BENCH_TRAINING_STEP_H_
