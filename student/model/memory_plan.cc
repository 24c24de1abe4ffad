#include "student/model/memory_plan.h"

#include "student/model/learner.h"
#include "student/parallel/sharded_optimizer.h"

namespace retort::student {
namespace {

// What is left to the driver and to the allocator's rounding.
constexpr std::int64_t kSpare = std::int64_t{64} << 20;

std::string MiB(std::int64_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB";
}

std::string Describe(const MemoryPlan& plan) {
  return MiB(plan.total()) + " (weights " + MiB(plan.weights) + ", gradients " + MiB(plan.gradients) +
         ", optimiser " + MiB(plan.moments) + ", activations " + MiB(plan.activations) + ", operators " +
         MiB(plan.operators) + ")";
}

}  // namespace

MemoryPlan PlanMemory(std::shared_ptr<const ParameterLayout> layout, const Backend& backend,
                      const PassLimits& given, bool recompute, const RankPlace& place) {
  const PassSizes sizes = {.limits = given, .recompute = recompute};
  PassLimits limits = given;
  limits.slots = limits.positions * layout->config().experts_per_token * place.layout.experts;
  const auto held = LayoutOfRank(layout, place);
  const std::int64_t floats = held->storage_size();
  MemoryPlan plan;
  plan.recompute = recompute;
  plan.weights = floats * 4 + (backend.activation() == Element::kBf16 ? floats * 2 : 0);
  plan.gradients = floats * 4;
  plan.moments = place.alone() ? floats * 8 : ShardedOptimizer::BytesNeeded(*layout, place);
  plan.operators = backend.WorkspaceBytes(*held, limits);
  plan.activations = Learner::BytesNeeded(layout, sizes, backend, place) -
                     (plan.weights + plan.gradients + plan.moments + plan.operators);
  return plan;
}

bool ChoosePlan(std::shared_ptr<const ParameterLayout> layout, const Backend& backend,
                const PassLimits& limits, Recompute recompute, const RankPlace& place, MemoryPlan* plan,
                std::string* problem) {
  const DeviceDescription& device = backend.description();
  const auto fits = [&] { return backend.host_memory() || plan->total() + kSpare <= device.free_bytes; };
  *plan = PlanMemory(layout, backend, limits, recompute == Recompute::kAlways, place);
  if (fits()) return true;
  std::string needed = Describe(*plan);
  if (recompute == Recompute::kWhenNeeded) {
    *plan = PlanMemory(layout, backend, limits, true, place);
    if (fits()) return true;
    needed += ", or " + Describe(*plan) + " when activations are computed twice";
  }
  *problem = device.kind + ":" + std::to_string(device.ordinal) + ": too little memory: training with " +
             std::to_string(limits.positions) + " positions at once takes " + needed + "; " +
             MiB(device.free_bytes) + " of " + MiB(device.memory_bytes) + " are free, and " + MiB(kSpare) +
             " of them stay so";
  return false;
}

}  // namespace retort::student
