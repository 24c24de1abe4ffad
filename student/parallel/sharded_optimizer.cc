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

std::int64_t Floats(std::span<const Part> parts) {
  std::int64_t floats = 0;
  for (const Part& part : parts) floats += part.size();
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

}  // namespace

struct ShardedOptimizer::Impl {
  // Tensors that lie one behind the other both in this rank's storage and in the whole: floats [held, held +
  // size) of the one are [whole, whole + size) of the other.
  struct Run {
    std::int64_t held = 0, whole = 0, size = 0;
  };
  static std::vector<Run> RunsOf(const ParameterLayout& held, const ParameterLayout& whole) {
    std::vector<Run> runs;
    for (const ParameterInfo& tensor : held.tensors()) {
      const ParameterInfo& same = whole.tensors()[static_cast<std::size_t>(whole.Find(tensor.name))];
      if (runs.empty() || tensor.offset - runs.back().held != same.offset - runs.back().whole)
        runs.push_back({tensor.offset, same.offset, 0});
      runs.back().size = tensor.offset + tensor.size - runs.back().held;
    }
    return runs;
  }

  Impl(std::shared_ptr<const ParameterLayout> l, const AdamWOptions& o, Backend& b, World& w)
      : whole(std::move(l)),
        held(LayoutOfRank(whole, w.place())),
        options(o),
        backend(b),
        world(w),
        plan(ShardPlan::Make(*held, w.place())),
        held_runs(RunsOf(*held, *whole)) {
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
    for (void* memory : {static_cast<void*>(first), static_cast<void*>(second), static_cast<void*>(sum)}) {
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

  // Packed floats from `staging` to where they belong in *set.
  bool DownloadParts(const float* staging, std::span<const Part> parts, ParameterSet* set) {
    for (const Part& part : parts) {
      backend.Download(staging, part.size() * kFloatBytes, set->storage().data() + part.begin);
      staging += part.size();
    }
    return backend.Finish().empty();
  }
  void UploadParts(const ParameterSet& set, std::span<const Part> parts, float* staging) {
    for (const Part& part : parts) {
      backend.Upload(set.storage().data() + part.begin, part.size() * kFloatBytes, staging);
      staging += part.size();
    }
  }

  bool LeadsWith(const ParameterSet* set) const { return (world.place().rank == 0) == (set != nullptr); }
  // Where what a rank has and steps belongs in whole sets.
  ShardPlan WholePlanOf(int rank) const { return ShardPlan::Make(*whole, {world.place().layout, rank}); }

  const std::shared_ptr<const ParameterLayout> whole, held;
  const AdamWOptions options;
  Backend& backend;
  World& world;
  const ShardPlan plan;  // over `held`
  const std::vector<Run> held_runs;
  std::int64_t steps_taken = 0;
  double waiting_seconds = 0;
  float *first = nullptr, *second = nullptr;
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
  return 2 * ShardPlan::Make(layout, place).own_floats * kFloatBytes +
         static_cast<std::int64_t>(sizeof(double));
}

bool ShardedOptimizer::Reserve() {
  Impl& run = *impl_;
  assert(run.first == nullptr);
  const std::int64_t bytes = run.plan.own_floats * kFloatBytes;
  run.first = static_cast<float*>(run.backend.Allocate(bytes));
  run.second = static_cast<float*>(run.backend.Allocate(bytes));
  run.sum = static_cast<double*>(run.backend.Allocate(sizeof(double)));
  if (run.first == nullptr || run.second == nullptr || run.sum == nullptr) return false;
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

bool ShardedOptimizer::GatherMoments(ParameterSet* first, ParameterSet* second, float* staging) {
  Impl& run = *impl_;
  assert(run.LeadsWith(first) && run.LeadsWith(second));
  for (int source = 0; source < run.world.place().layout.world(); ++source) {
    const ShardPlan plan = run.WholePlanOf(source);
    for (const auto& [moment, whole] : {std::pair{run.first, first}, std::pair{run.second, second}}) {
      if (!run.Send(source, 0, plan.own_floats, moment, staging)) return false;
      if (whole != nullptr && !run.DownloadParts(staging, plan.own, whole)) return false;
    }
  }
  return run.world.all().Finish(run.backend.stream());
}

bool ShardedOptimizer::GatherWeights(const float* weights, ParameterSet* whole, float* staging) {
  Impl& run = *impl_;
  assert(run.LeadsWith(whole));
  if (whole != nullptr) {
    for (const Impl::Run& same : run.held_runs) {
      run.backend.Download(weights + same.held, same.size * kFloatBytes,
                           whole->storage().data() + same.whole);
    }
  }
  // Rank 0 has its own experts, and the rest of its expert group every other one.
  for (int source = 1; source < run.world.place().layout.experts; ++source) {
    const ShardPlan plan = run.WholePlanOf(source);
    if (run.world.place().rank == source) {
      std::int64_t at = 0;
      for (const Part& part : run.plan.experts) {
        run.backend.Copy(weights + part.begin, part.size() * kFloatBytes, staging + at);
        at += part.size();
      }
    }
    // The receiver's staging area is its own, so sender and receiver may use the same name for it.
    if (!run.Send(source, 0, Floats(plan.experts), staging, staging)) return false;
    if (whole != nullptr && !run.DownloadParts(staging, plan.experts, whole)) return false;
  }
  return run.world.all().Finish(run.backend.stream()) && run.backend.Finish().empty();
}

bool ShardedOptimizer::ScatterWeights(const ParameterSet* whole, float* weights, float* staging) {
  Impl& run = *impl_;
  assert(run.LeadsWith(whole));
  const RankPlace& place = run.world.place();
  const Stream stream = run.backend.stream();
  if (whole != nullptr) {
    for (const Impl::Run& same : run.held_runs) {
      run.backend.Upload(whole->storage().data() + same.whole, same.size * kFloatBytes, weights + same.held);
    }
  }
  for (const Bucket& bucket : run.plan.buckets) {
    if (bucket.routed) continue;
    if (!run.world.all().Broadcast(weights + bucket.storage.begin, bucket.storage.size() * kFloatBytes, 0,
                                   stream))
      return false;
  }
  // The experts of each column of expert groups in turn, to all; the owners keep them.
  for (int owner = 0; owner < place.layout.experts && place.layout.experts > 1; ++owner) {
    const ShardPlan plan = run.WholePlanOf(owner);
    if (whole != nullptr) run.UploadParts(*whole, plan.experts, staging);
    if (!run.world.all().Broadcast(staging, Floats(plan.experts) * kFloatBytes, 0, stream)) return false;
    if (place.expert_rank() != owner) continue;
    std::int64_t at = 0;
    for (const Part& part : run.plan.experts) {
      run.backend.Copy(staging + at, part.size() * kFloatBytes, weights + part.begin);
      at += part.size();
    }
  }
  return run.world.all().Finish(stream);
}

bool ShardedOptimizer::ScatterMoments(const ParameterSet* first, const ParameterSet* second,
                                      std::int64_t steps_taken, float* staging) {
  Impl& run = *impl_;
  assert(run.LeadsWith(first) && run.LeadsWith(second));
  run.steps_taken = steps_taken;
  for (int target = 0; target < run.world.place().layout.world(); ++target) {
    const ShardPlan plan = run.WholePlanOf(target);
    for (const auto& [moment, whole] : {std::pair{run.first, first}, std::pair{run.second, second}}) {
      if (whole != nullptr) run.UploadParts(*whole, plan.own, staging);
      if (!run.Send(0, target, plan.own_floats, staging, moment)) return false;
    }
  }
  return run.world.all().Finish(run.backend.stream());
}

}  // namespace retort::student
