#include "student/parallel/sharded_optimizer.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "student/parallel/background.h"

namespace retort::student {
namespace {

constexpr std::int64_t kFloatBytes = sizeof(float);

std::int64_t ExpertFloats(const ShardPlan& plan) {
  std::int64_t floats = 0;
  for (const Part& part : plan.experts) floats += part.size();
  return floats;
}

// Adds the time of its life to a sum.
class Waiting {
 public:
  explicit Waiting(double& seconds) : seconds_(seconds) {}
  ~Waiting() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count(); }

 private:
  double& seconds_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

// Room for the packed moments or the experts of any one rank.
std::int64_t StagingFloats(const ParameterLayout& layout, RankPlace place) {
  std::int64_t most = 0;
  for (place.rank = 0; place.rank < place.layout.world(); ++place.rank) {
    const ShardPlan plan = ShardPlan::Make(layout, place);
    most = std::max({most, plan.own_floats, ExpertFloats(plan)});
  }
  return most;
}

}  // namespace

struct ShardedOptimizer::Impl {
  Impl(std::shared_ptr<const ParameterLayout> l, const AdamWOptions& o, Backend& b, World& w)
      : layout(std::move(l)), options(o), backend(b), world(w), plan(ShardPlan::Make(*layout, w.place())) {
    if (backend.host_memory()) {
      reductions = std::make_unique<Background>();
    } else {
      stream = backend.MakeStream();
      computed = backend.MakeEvent();
      reduced = backend.MakeEvent();
    }
  }
  ~Impl() {
    reductions.reset();
    for (void* memory : {static_cast<void*>(first), static_cast<void*>(second), static_cast<void*>(staging),
                         static_cast<void*>(sum)}) {
      if (memory != nullptr) backend.Free(memory);
    }
  }

  Collectives& GroupOf(const Bucket& bucket) { return bucket.routed ? world.data() : world.all(); }

  void Reduce(const Bucket& bucket, float* gradients) {
    // A failure is the world's to keep; Step looks at it.
    GroupOf(bucket).ReduceScatter(gradients, bucket.parts, stream);
  }

  void StartNext(float* gradients) {
    const Bucket& bucket = plan.buckets[next_bucket++];
    if (reductions != nullptr) {
      reductions->Add([this, &bucket, gradients] { Reduce(bucket, gradients); });
      return;
    }
    backend.Record(computed, backend.stream());
    backend.Wait(stream, computed);
    Reduce(bucket, gradients);
  }

  void FinishReductions(float* gradients) {
    const Waiting wait(waiting_seconds);
    while (next_bucket < plan.buckets.size()) StartNext(gradients);
    next_bucket = 0;
    if (reductions != nullptr) {
      reductions->Wait();
      return;
    }
    backend.Record(reduced, stream);
    backend.Wait(backend.stream(), reduced);
  }

  // One rank to another: `floats` of backend memory from `from` on the one, into `to` on the other.
  bool Send(int source, int target, std::int64_t floats, const float* from, float* to) {
    const int rank = world.place().rank;
    std::vector<Part> sends(world.place().layout.world()), receives(sends.size());
    if (rank == source) sends[target] = {0, floats * kFloatBytes};
    if (rank == target) receives[source] = {0, floats * kFloatBytes};
    return world.all().AllToAll(from, sends, to, receives, backend.stream());
  }

  ShardPlan PlanOf(int rank) const { return ShardPlan::Make(*layout, {world.place().layout, rank}); }

  const std::shared_ptr<const ParameterLayout> layout;
  const AdamWOptions options;
  Backend& backend;
  World& world;
  const ShardPlan plan;
  std::int64_t steps_taken = 0;
  double waiting_seconds = 0;
  float *first = nullptr, *second = nullptr, *staging = nullptr;
  double* sum = nullptr;
  std::size_t next_bucket = 0;  // of the step under way
  // One of the two ways to reduce beside the backward pass.
  std::unique_ptr<Background> reductions;
  Stream stream;
  void *computed = nullptr, *reduced = nullptr;
};

ShardedOptimizer::ShardedOptimizer(std::shared_ptr<const ParameterLayout> layout, const AdamWOptions& options,
                                   Backend& backend, World& world)
    : impl_(std::make_unique<Impl>(std::move(layout), options, backend, world)) {}
ShardedOptimizer::~ShardedOptimizer() = default;

std::int64_t ShardedOptimizer::BytesNeeded(const ParameterLayout& layout, const RankPlace& place) {
  return (2 * ShardPlan::Make(layout, place).own_floats + StagingFloats(layout, place)) * kFloatBytes +
         static_cast<std::int64_t>(sizeof(double));
}

bool ShardedOptimizer::Reserve() {
  Impl& run = *impl_;
  assert(run.first == nullptr);
  const std::int64_t bytes = run.plan.own_floats * kFloatBytes;
  run.first = static_cast<float*>(run.backend.Allocate(bytes));
  run.second = static_cast<float*>(run.backend.Allocate(bytes));
  run.staging =
      static_cast<float*>(run.backend.Allocate(StagingFloats(*run.layout, run.world.place()) * kFloatBytes));
  run.sum = static_cast<double*>(run.backend.Allocate(sizeof(double)));
  if (run.first == nullptr || run.second == nullptr || run.staging == nullptr || run.sum == nullptr)
    return false;
  run.backend.Zero(run.first, bytes);
  run.backend.Zero(run.second, bytes);
  return true;
}

const ShardPlan& ShardedOptimizer::plan() const {
  return impl_->plan;
}
std::int64_t ShardedOptimizer::steps_taken() const {
  return impl_->steps_taken;
}

void ShardedOptimizer::LayerDone(int layer, float* gradients) {
  Impl& run = *impl_;
  while (run.next_bucket < run.plan.buckets.size() && run.plan.buckets[run.next_bucket].layer >= layer) {
    run.StartNext(gradients);
  }
}

void ShardedOptimizer::FinishReductions(float* gradients) {
  impl_->FinishReductions(gradients);
}

double ShardedOptimizer::TakeWaitingSeconds() {
  return std::exchange(impl_->waiting_seconds, 0);
}

double ShardedOptimizer::Step(const OptimizerTensors& given, double learning_rate) {
  Impl& run = *impl_;
  Backend& backend = run.backend;
  OptimizerTensors tensors = given;
  tensors.first_moment = run.first;
  tensors.second_moment = run.second;
  assert(run.next_bucket == 0);
  backend.SquaredNorm(tensors, run.plan.own, run.sum);
  double norm = 0;
  backend.Download(run.sum, sizeof(norm), &norm);
  const bool computed = backend.Finish().empty() && run.world.all().Finish(run.stream);
  if (!computed) return std::numeric_limits<double>::quiet_NaN();
  {
    const Waiting wait(run.waiting_seconds);
    if (!run.world.all().SumHost(std::span<double>(&norm, 1)))
      return std::numeric_limits<double>::quiet_NaN();
  }
  norm = std::sqrt(norm);
  if (!std::isfinite(norm)) return norm;  // the same on all ranks
  backend.StepAdamW(run.options, tensors, run.plan.own, norm, learning_rate, run.steps_taken);
  bool gathered = true;
  const Waiting wait(run.waiting_seconds);
  for (const Bucket& bucket : run.plan.buckets) {
    gathered = run.GroupOf(bucket).AllGather(tensors.weights, bucket.parts, backend.stream()) && gathered;
  }
  backend.RoundMatrices(tensors);
  if (!gathered) return std::numeric_limits<double>::quiet_NaN();
  ++run.steps_taken;
  return norm;
}

bool ShardedOptimizer::GatherMoments(ParameterSet* first, ParameterSet* second) {
  Impl& run = *impl_;
  const int rank = run.world.place().rank;
  assert((rank == 0) == (first != nullptr) && (first == nullptr) == (second == nullptr));
  for (int source = 0; source < run.world.place().layout.world(); ++source) {
    const ShardPlan plan = run.PlanOf(source);
    for (const auto& [moment, whole] : {std::pair{run.first, first}, std::pair{run.second, second}}) {
      if (!run.Send(source, 0, plan.own_floats, moment, run.staging)) return false;
      if (rank != 0) continue;
      std::vector<float> packed(static_cast<std::size_t>(plan.own_floats));
      run.backend.Download(run.staging, plan.own_floats * kFloatBytes, packed.data());
      if (!run.backend.Finish().empty()) return false;
      const float* from = packed.data();
      for (const Part& part : plan.own) {
        std::copy_n(from, part.size(), whole->storage().data() + part.begin);
        from += part.size();
      }
    }
  }
  return run.world.all().Finish(run.backend.stream());
}

bool ShardedOptimizer::GatherExperts(float* weights) {
  Impl& run = *impl_;
  const RankPlace& place = run.world.place();
  // Rank 0's own expert group has every expert.
  for (int source = 1; source < place.layout.experts; ++source) {
    const ShardPlan plan = run.PlanOf(source);
    const auto copy = [&](bool pack) {
      std::int64_t at = 0;
      for (const Part& part : plan.experts) {
        float* const packed = run.staging + at;
        float* const whole = weights + part.begin;
        run.backend.Copy(pack ? whole : packed, part.size() * kFloatBytes, pack ? packed : whole);
        at += part.size();
      }
    };
    if (place.rank == source) copy(true);
    // The receiver's staging area is its own, so sender and receiver may use the same name for it.
    if (!run.Send(source, 0, ExpertFloats(plan), run.staging, run.staging)) return false;
    if (place.rank == 0) copy(false);
  }
  return run.world.all().Finish(run.backend.stream());
}

bool ShardedOptimizer::Scatter(float* weights, const ParameterSet* first, const ParameterSet* second,
                               std::int64_t steps_taken) {
  Impl& run = *impl_;
  const int rank = run.world.place().rank;
  assert((rank == 0) == (first != nullptr) && (first == nullptr) == (second == nullptr));
  run.steps_taken = steps_taken;
  if (!run.world.all().Broadcast(weights, run.layout->storage_size() * kFloatBytes, 0, run.backend.stream()))
    return false;
  for (int target = 0; target < run.world.place().layout.world(); ++target) {
    const ShardPlan plan = run.PlanOf(target);
    for (const auto& [moment, whole] : {std::pair{run.first, first}, std::pair{run.second, second}}) {
      if (rank == 0) {
        std::vector<float> packed;
        for (const Part& part : plan.own) {
          const float* const from = whole->storage().data() + part.begin;
          packed.insert(packed.end(), from, from + part.size());
        }
        run.backend.Upload(packed.data(), plan.own_floats * kFloatBytes, run.staging);
      }
      if (!run.Send(0, target, plan.own_floats, run.staging, moment)) return false;
    }
  }
  return run.world.all().Finish(run.backend.stream());
}

}  // namespace retort::student
