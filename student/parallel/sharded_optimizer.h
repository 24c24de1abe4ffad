// One optimiser step of all ranks: gradients reduced bucket by bucket while the backward pass still runs,
// each rank steps its own parts with AdamW, the new weights are gathered.
//
//   ShardedOptimizer optimizer(layout, options, pool, world);
//   for each micro-batch of this rank's rows: backward; during the last one call LayerDone(i) as each layer
//   is done result = optimizer.Step(&weights, &gradients, learning_rate);
//
// Sums over ranks are in rank order and the global norm is summed over parts in a fixed order, so the same
// layout gives the same bits; another layout gives another rounding. Reductions run on a thread of their own.
// Calls are for one thread.
#ifndef STUDENT_PARALLEL_SHARDED_OPTIMIZER_H_
#define STUDENT_PARALLEL_SHARDED_OPTIMIZER_H_

#include <cstdint>
#include <memory>

#include "student/model/parameters.h"
#include "student/optimizer/adamw.h"
#include "student/parallel/collectives.h"
#include "student/parallel/shard_plan.h"
#include "student/tensor/isa.h"
#include "student/threads/thread_pool.h"

namespace retort::student {

class ShardedOptimizer {
 public:
  // pool and world must outlive it. Moments start at zero.
  ShardedOptimizer(std::shared_ptr<const ParameterLayout> layout, const AdamWOptions& options,
                   ThreadPool& pool, World& world, Isa isa = BestIsa());
  ~ShardedOptimizer();

  const ShardPlan& plan() const;

  // Called from the backward pass of the last micro-batch of a step: *gradients of `layer` (as Bucket::layer)
  // are final on this rank and are not written again. Starts their reduction and returns. Layers come in the
  // order of the plan; those that were never announced are reduced by Step.
  void LayerDone(int layer, Gradients* gradients);

  // Waits for the reductions, clips by the global norm over all ranks, steps the own parts of *parameters and
  // gathers the rest; experts of other ranks are not touched. Returns the norm before clipping. Nothing is
  // changed and the step is not counted when it is not finite, or when the run has failed (look at
  // World::failure(); the norm is then NaN). Afterwards *gradients is unspecified.
  double Step(ParameterSet* parameters, Gradients* gradients, double learning_rate);

  // State for checkpoints, in the form of one process, so that a checkpoint fits any layout. All ranks call
  // each.
  //
  // Fills `whole`, on rank 0 alone, with the moments and the steps taken; null on other ranks.
  bool GatherMoments(AdamW* whole);
  // Completes *weights on rank 0 with the experts that other ranks own. Touches nothing on other ranks.
  bool GatherWeights(ParameterSet* weights);
  // Takes the own parts of the moments. Purely local.
  void Load(const AdamW& whole);
  void Reset();  // zero moments, no steps

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_SHARDED_OPTIMIZER_H_
