#include "student/model/learner.h"

#include <array>
#include <cassert>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include "student/parallel/expert_exchange.h"
#include "student/parallel/sharded_optimizer.h"

namespace retort::student {
namespace {

constexpr std::int64_t kFloatBytes = sizeof(float);

class Stopwatch {
 public:
  double Lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(begun_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

PassSizes Completed(PassSizes sizes, const ModelConfig& config, Element activation,
                    const ParallelLayout& layout) {
  sizes.activation = activation;
  sizes.backward = true;
  sizes.expert_ranks = layout.experts;
  sizes.limits.slots = sizes.limits.positions * config.experts_per_token * layout.experts;
  return sizes;
}

}  // namespace

struct Learner::Impl {
  Impl(std::shared_ptr<const ParameterLayout> l, const AdamWOptions& o, Backend& b, World* w)
      : layout(std::move(l)),
        held(LayoutOfRank(layout, w == nullptr ? RankPlace{} : w->place())),
        options(o),
        backend(b),
        world(w),
        pass(held, b) {
    if (world == nullptr) return;
    sharded.emplace(layout, options, backend, *world);
    if (world->place().layout.experts > 1) {
      exchange.emplace(world->experts(), backend, layout->config().experts);
      pass.UseExchange(&*exchange);
    }
  }
  ~Impl() {
    sharded.reset();  // its reductions may still read gradients
    for (void* memory : owned) backend.Free(memory);
  }

  template <typename T>
  bool Make(std::int64_t count, T** memory) {
    const std::int64_t bytes = count * static_cast<std::int64_t>(sizeof(T));
    *memory = static_cast<T*>(backend.Allocate(bytes));
    if (*memory == nullptr) return false;
    owned.push_back(*memory);
    backend.Zero(*memory, bytes);
    return true;
  }

  bool rank_zero() const { return world == nullptr || world->place().rank == 0; }
  std::int64_t bytes() const { return held->storage_size() * kFloatBytes; }
  bool Well() const { return backend.failure().empty() && (world == nullptr || world->failure().empty()); }

  void RefreshMatrices() {
    if (matrices != nullptr) backend.Convert(weights, held->storage_size(), {matrices, Element::kBf16});
  }
  OptimizerTensors Tensors() const {
    return {held.get(), gradients, weights, first_moment, second_moment, matrices};
  }

  // A set with what lies at `memory`: a view of it, or a copy that *kept holds.
  ParameterSet OnHost(float* memory, std::optional<ParameterSet>* kept) {
    if (backend.host_memory()) return ParameterSet::View(layout, memory);
    if (!kept->has_value()) kept->emplace(layout);
    float* const copy = (*kept)->storage().data();
    backend.Download(memory, bytes(), copy);
    return ParameterSet::View(layout, copy);
  }

  // Sums of numbers over ranks, in rank order.
  bool SumOverRanks(std::span<double> values) { return world == nullptr || world->all().SumHost(values); }

  const std::shared_ptr<const ParameterLayout> layout;  // of states
  const std::shared_ptr<const ParameterLayout> held;    // of what is in the backend's memory
  const AdamWOptions options;
  Backend& backend;
  World* const world;
  Pass pass;
  std::optional<ShardedOptimizer> sharded;  // with a world
  std::optional<ExpertExchange> exchange;   // when it splits experts

  std::vector<void*> owned;  // backend memory of the members below
  float *weights = nullptr, *gradients = nullptr;
  float *first_moment = nullptr, *second_moment = nullptr;  // alone
  Bf16* matrices = nullptr;                                 // of bf16 activations
  PassFactors* factors = nullptr;
  double* norm = nullptr;
  PassSums* sums = nullptr;
  std::int64_t steps_taken = 0;

  std::optional<TrainingState> state;  // what Read gave last
  std::optional<ParameterSet> kept_weights, kept_first, kept_second;
};

Learner::Learner(std::shared_ptr<const ParameterLayout> layout, const AdamWOptions& options, Backend& backend,
                 World* world)
    : impl_(std::make_unique<Impl>(std::move(layout), options, backend, world)) {}
Learner::~Learner() = default;

std::int64_t Learner::BytesNeeded(std::shared_ptr<const ParameterLayout> layout, const PassSizes& given,
                                  const Backend& backend, const RankPlace& place) {
  const PassSizes sizes = Completed(given, layout->config(), backend.activation(), place.layout);
  const auto held = LayoutOfRank(layout, place);
  const std::int64_t size = held->storage_size();
  std::int64_t bytes = 2 * size * kFloatBytes +
                       static_cast<std::int64_t>(sizeof(PassFactors) + sizeof(double) + sizeof(PassSums));
  bytes += place.alone() ? 2 * size * kFloatBytes : ShardedOptimizer::BytesNeeded(*layout, place);
  if (sizes.activation == Element::kBf16) bytes += size * BytesOf(Element::kBf16);
  return bytes + backend.WorkspaceBytes(*held, sizes.limits) + Pass::BytesNeeded(held, sizes);
}

bool Learner::Reserve(PassSizes given) {
  Impl& run = *impl_;
  assert(run.weights == nullptr);
  const PassSizes sizes = Completed(given, run.layout->config(), run.backend.activation(),
                                    run.world == nullptr ? ParallelLayout{} : run.world->place().layout);
  const std::int64_t size = run.held->storage_size();
  if (!run.Make(size, &run.weights) || !run.Make(size, &run.gradients) || !run.Make(1, &run.factors) ||
      !run.Make(1, &run.norm) || !run.Make(1, &run.sums)) {
    return false;
  }
  if (sizes.activation == Element::kBf16 && !run.Make(size, &run.matrices)) return false;
  if (run.sharded) {
    if (!run.sharded->Reserve()) return false;
  } else if (!run.Make(size, &run.first_moment) || !run.Make(size, &run.second_moment)) {
    return false;
  }
  return run.pass.Reserve(sizes);
}

bool Learner::Load(const TrainingState* state) {
  Impl& run = *impl_;
  assert(run.rank_zero() == (state != nullptr));
  if (run.sharded) {
    std::array<std::int64_t, 1> steps = {state != nullptr ? state->steps_taken : 0};
    if (!run.world->all().SumHost(std::span<std::int64_t>(steps))) return false;
    if (!run.sharded->ScatterWeights(state != nullptr ? &state->weights : nullptr, run.weights,
                                     run.gradients) ||
        !run.sharded->ScatterMoments(state != nullptr ? &state->first_moment : nullptr,
                                     state != nullptr ? &state->second_moment : nullptr, steps[0],
                                     run.gradients)) {
      return false;
    }
    run.steps_taken = steps[0];
  } else {
    run.backend.Upload(state->weights.storage().data(), run.bytes(), run.weights);
    run.backend.Upload(state->first_moment.storage().data(), run.bytes(), run.first_moment);
    run.backend.Upload(state->second_moment.storage().data(), run.bytes(), run.second_moment);
    run.steps_taken = state->steps_taken;
  }
  run.RefreshMatrices();
  return run.backend.Finish().empty();
}

const TrainingState* Learner::Read() {
  Impl& run = *impl_;
  run.state.reset();
  if (run.sharded) {
    std::array<ParameterSet*, 3> whole = {};  // of rank 0
    if (run.rank_zero()) {
      int i = 0;
      for (auto* kept : {&run.kept_weights, &run.kept_first, &run.kept_second}) {
        if (!kept->has_value()) kept->emplace(run.layout);
        whole[i++] = &**kept;
      }
    }
    if (!run.sharded->GatherWeights(run.weights, whole[0], run.gradients) ||
        !run.sharded->GatherMoments(whole[1], whole[2], run.gradients) || !run.rank_zero()) {
      return nullptr;
    }
    const auto view = [&run](ParameterSet* set) {
      return ParameterSet::View(run.layout, set->storage().data());
    };
    run.state.emplace(TrainingState{view(whole[0]), view(whole[1]), view(whole[2]), run.steps_taken});
  } else {
    run.state.emplace(TrainingState{run.OnHost(run.weights, &run.kept_weights),
                                    run.OnHost(run.first_moment, &run.kept_first),
                                    run.OnHost(run.second_moment, &run.kept_second), run.steps_taken});
  }
  return run.backend.Finish().empty() ? &*run.state : nullptr;
}

LearnedStep Learner::Step(std::span<const PackedBatch> batches, const StepInputs& inputs) {
  Impl& run = *impl_;
  Backend& backend = run.backend;
  const ModelConfig& config = run.layout->config();
  assert(!batches.empty());
  LearnedStep result;
  result.expert_counts.assign(static_cast<std::size_t>(config.moe_layers() * config.experts), 0);
  Stopwatch watch;

  std::array<double, 2> totals = {0, 0};  // valid tokens, tokens
  for (const PackedBatch& batch : batches) {
    totals[0] += ValidTokens(batch);
    totals[1] += static_cast<double>(batch.size());
  }
  if (!run.SumOverRanks(totals)) return result;
  result.communication_seconds += watch.Lap();
  const PassFactors factors = FactorsOf(config, inputs.loss, 1.0 / totals[0]);
  backend.Upload(&factors, sizeof(factors), run.factors);
  backend.Zero(run.gradients, run.bytes());
  backend.Zero(run.sums, sizeof(PassSums));
  const WeightView view = {run.held.get(), run.weights, run.matrices, run.gradients};
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const BatchTables& tables = run.pass.Upload(batches[i]);
    backend.BeginSegments();
    run.pass.Forward(view, tables);
    if (backend.host_memory()) result.forward_seconds += watch.Lap();
    Pass::LayerDone done;
    if (run.sharded && i + 1 == batches.size()) {
      done = [&](int layer) { run.sharded->LayerDone(layer, run.gradients); };
    }
    run.pass.Backward(view, tables, inputs.loss, run.factors, run.sums, done);
    backend.EndSegments();
    run.pass.AddLoads(result.expert_counts);
    result.backward_seconds += watch.Lap();
  }
  if (run.sharded) run.sharded->FinishReductions(run.gradients);

  PassSums sums;
  double norm = 0;
  backend.Download(run.sums, sizeof(sums), &sums);
  if (!run.sharded) {
    backend.GlobalNorm(run.Tensors(), run.norm);
    backend.Download(run.norm, sizeof(norm), &norm);
  }
  if (!backend.Finish().empty()) return result;
  result.backward_seconds += watch.Lap();
  std::array<double, 8> parts = {
      sums.head.valid_tokens, sums.head.teacher_tokens,      sums.head.ce_sum,        sums.head.kl_sum,
      sums.head.mixed_sum,    sums.predictions.valid_tokens, sums.predictions.ce_sum, sums.balance.loss};
  if (!run.SumOverRanks(parts)) return result;
  if (run.world != nullptr && !run.world->all().SumHost(std::span<std::int64_t>(result.expert_counts)))
    return result;
  result.communication_seconds += watch.Lap();
  result.valid_tokens = parts[0];
  result.teacher_tokens = parts[1];
  result.ce_sum = parts[2];
  result.kl_sum = parts[3];
  result.mixed_sum = parts[4];
  result.prediction_tokens = parts[5];
  result.prediction_ce_sum = parts[6];
  result.balance = parts[7];
  result.tokens = static_cast<std::int64_t>(totals[1]);
  result.gradient_norm = norm;
  if (!std::isfinite(result.mixed_sum)) return result;

  if (run.sharded) {
    result.gradient_norm = norm = run.sharded->Step(run.Tensors(), inputs.learning_rate);
  } else if (std::isfinite(norm)) {
    backend.StepAdamW(run.options, run.Tensors(), norm, inputs.learning_rate, run.steps_taken);
  }
  if (!std::isfinite(norm)) return result;
  ++run.steps_taken;
  backend.UpdateExpertBias(*run.held, result.expert_counts, inputs.expert_bias_rate, run.weights);
  result.ok = backend.Finish().empty() && run.Well();
  result.optimizer_seconds = watch.Lap();
  if (run.sharded) {
    const double waited = run.sharded->TakeWaitingSeconds();
    result.communication_seconds += waited;
  }
  return result;
}

}  // namespace retort::student
