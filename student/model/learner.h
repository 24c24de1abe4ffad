// What learns: the weights of a student, their gradients and AdamW state in a backend's memory, alone or as
// one rank of several (student/parallel). One optimiser step over a backend and a world is composed here,
// once for the CPU and for devices; what is trained on and when is the trainer's.
//
//   Learner learner(layout, adamw, backend, world);      // world: null when alone
//   if (!learner.Reserve(sizes)) return backend.failure();
//   learner.Load(state);
//   for (...) LearnedStep step = learner.Step(batches_of_this_rank, inputs);
//   const TrainingState* state = learner.Read();          // for a checkpoint, an evaluation, an export
//
// With a world every rank makes the same calls. Rank 0 alone gives and gets whole states, so a checkpoint
// fits any number of ranks. Failures: the backend's are in Backend::failure(), other ranks' in
// World::failure(); after either nothing here is to be used. One caller at a time.
#ifndef STUDENT_MODEL_LEARNER_H_
#define STUDENT_MODEL_LEARNER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "student/loss/loss_options.h"
#include "student/model/packed_batch.h"
#include "student/model/pass.h"
#include "student/optimizer/adamw.h"
#include "student/parallel/collectives.h"

namespace retort::student {

// All that the next step depends on, on the host.
struct TrainingState {
  ParameterSet weights, first_moment, second_moment;
  std::int64_t steps_taken = 0;
};

struct StepInputs {
  LossOptions loss;
  double learning_rate = 0;
  double expert_bias_rate = 0;
};

// Of the whole step, over all ranks; the same on each but for the times.
struct LearnedStep {
  bool ok =
      false;  // false: a failure (see above), or a loss or norm that is not finite; nothing has changed then
  double valid_tokens = 0, teacher_tokens = 0;
  double ce_sum = 0, kl_sum = 0, mixed_sum = 0;  // as BatchResult, like the next three
  double prediction_tokens = 0, prediction_ce_sum = 0;
  double balance = 0;
  double gradient_norm = 0;                 // before clipping
  std::int64_t tokens = 0;                  // forwarded
  std::vector<std::int64_t> expert_counts;  // [moe_layers, experts]
  double forward_seconds = 0, backward_seconds = 0, optimizer_seconds = 0;
  double communication_seconds = 0;  // waiting for other ranks; also in the phase that waited
};

class Learner {
 public:
  // backend and world must outlive it; world is null when alone.
  Learner(std::shared_ptr<const ParameterLayout> layout, const AdamWOptions& options, Backend& backend,
          World* world);
  ~Learner();
  Learner(const Learner&) = delete;
  Learner& operator=(const Learner&) = delete;

  // Bytes of backend memory that Reserve takes, the operators' working memory included. place: {1, 1} and 0
  // when alone.
  static std::int64_t BytesNeeded(std::shared_ptr<const ParameterLayout> layout, const PassSizes& sizes,
                                  const Backend& backend, const RankPlace& place);
  // Makes all memory, for micro-batches up to `sizes`. limits.slots, activation, backward and expert_ranks
  // are filled in here. False when it does not fit. Called once.
  bool Reserve(PassSizes sizes);

  // Replaces the state. With a world rank 0 passes it and the others null. False on a failure.
  bool Load(const TrainingState* state);
  // The state as it is now; null on a failure and on ranks other than 0. Alone on the CPU the sets are views
  // of what is trained; elsewhere copies, kept for the next call. Valid until the next call of Step, Load or
  // Read.
  const TrainingState* Read();

  // One optimiser step over this rank's micro-batches, the same number on every rank; at least one.
  LearnedStep Step(std::span<const PackedBatch> batches, const StepInputs& inputs);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_LEARNER_H_
