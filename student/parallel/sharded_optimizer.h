// One optimiser step of all ranks: gradients are reduced bucket by bucket while the backward pass still runs,
// each rank steps its own parts with AdamW, the new weights are gathered. A rank's weights and gradients are
// storages of LayoutOfRank (shard_plan.h): there is no room in them for the experts of others.
//
//   ShardedOptimizer optimizer(layout, options, backend, world);
//   if (!optimizer.Reserve()) ...                    // backend.failure()
//   for each micro-batch of this rank's rows: backward; in the last one LayerDone(layer) as layers are done
//   optimizer.FinishReductions(gradients);
//   norm = optimizer.Step(tensors, learning_rate);
//
// Sums over ranks are in rank order and the global norm is added up part by part, rank by rank, so the same
// layout gives the same bits; another layout rounds otherwise. On the CPU reductions run on a thread of their
// own, on a device on a stream of their own. Calls are for one thread. Failure as in collectives.h.
#ifndef STUDENT_PARALLEL_SHARDED_OPTIMIZER_H_
#define STUDENT_PARALLEL_SHARDED_OPTIMIZER_H_

#include <cstdint>
#include <memory>

#include "student/device/backend.h"
#include "student/model/parameters.h"
#include "student/optimizer/adamw.h"
#include "student/parallel/collectives.h"
#include "student/parallel/shard_plan.h"

namespace retort::student {

class ShardedOptimizer {
 public:
  // layout: of the whole student. backend and world must outlive it.
  ShardedOptimizer(std::shared_ptr<const ParameterLayout> layout, const AdamWOptions& options,
                   Backend& backend, World& world);
  ~ShardedOptimizer();
  ShardedOptimizer(const ShardedOptimizer&) = delete;
  ShardedOptimizer& operator=(const ShardedOptimizer&) = delete;

  // Bytes of backend memory that a rank needs for its moments.
  static std::int64_t BytesNeeded(const ParameterLayout& layout, const RankPlace& place);
  // Makes that memory; the moments are zero and no step is taken. False when it does not fit.
  bool Reserve();

  const ShardPlan& plan() const;
  std::int64_t steps_taken() const;

  // To be given to Pass::Backward of the last micro-batch of a step: everything that adds to the gradients of
  // `layer` (as Bucket::layer) is queued on the backend. Starts their reduction and returns. Layers come in
  // the order of the plan.
  void LayerDone(int layer, float* gradients);

  // Reduces what was not announced and waits for all reductions of the step. Until then World::all() and
  // World::data() are in use.
  void FinishReductions(float* gradients);

  // After FinishReductions. tensors: weights, gradients, matrices of the backend; its moments are not read.
  // Clips by the global norm over all ranks, steps the own parts and gathers the rest; experts of other ranks
  // are left as they are. Returns the norm before clipping. When it is not finite nothing has changed and the
  // step is not counted; when the run has failed (World::failure()) it is NaN. Gradients are unspecified
  // afterwards.
  double Step(const OptimizerTensors& tensors, double learning_rate);

  // Seconds that FinishReductions and Step have waited for other ranks since the last call.
  double TakeWaitingSeconds();

  // State in the form of one process, whole sets in host memory of rank 0, so that a checkpoint fits every
  // layout. All ranks make each call; the others pass null for the sets. staging: backend memory as long as
  // this rank's storage, overwritten; between steps that of the gradients will do.
  //
  // Fills *first and *second.
  bool GatherMoments(ParameterSet* first, ParameterSet* second, float* staging);
  // Fills *whole from the ranks' `weights` (backend memory).
  bool GatherWeights(const float* weights, ParameterSet* whole, float* staging);
  // Gives every rank its part of the whole weights, into `weights`.
  bool ScatterWeights(const ParameterSet* whole, float* weights, float* staging);
  // And its parts of the moments, and the number of steps taken, which is given on all ranks.
  bool ScatterMoments(const ParameterSet* first, const ParameterSet* second, std::int64_t steps_taken,
                      float* staging);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_SHARDED_OPTIMIZER_H_
