#include "student/bench/training_step.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <vector>

#include "student/model/learner.h"
#include "student/model/memory_plan.h"

namespace retort::student {
namespace {

constexpr int kWarmUpSteps = 3;  // in the third what repeats becomes a graph
constexpr StepInputs kInputs = {.loss = {}, .learning_rate = 1e-4, .expert_bias_rate = 1e-3};

[[noreturn]] void Fail(const std::string& sentence) {
  std::fprintf(stderr, "device_bench: %s\n", sentence.c_str());
  std::exit(1);
}

// Weights that a fresh model could have, quickly: norms 1, state 0, the rest a short pattern of small
// numbers.
void FillWeights(ParameterSet* weights) {
  const std::vector<float> pattern = BenchPattern(weights->layout().storage_size(), 0.03f);
  for (std::size_t i = 0; i < weights->layout().tensors().size(); ++i) {
    const ParameterKind kind = weights->layout().tensors()[i].kind;
    const std::span<float> values = weights->tensor(static_cast<int>(i));
    if (kind == ParameterKind::kNorm || kind == ParameterKind::kState) {
      std::fill(values.begin(), values.end(), kind == ParameterKind::kNorm ? 1.0f : 0.0f);
      continue;
    }
    for (std::size_t at = 0; at < values.size(); at += pattern.size()) {
      std::copy_n(pattern.begin(), std::min(pattern.size(), values.size() - at), values.begin() + at);
    }
  }
}

bool LoadStart(const std::shared_ptr<const ParameterLayout>& layout, Learner& learner) {
  // Both moments are one set of zeros that is only read, and so takes no memory.
  const std::unique_ptr<void, decltype(&std::free)> zeros(
      std::calloc(static_cast<std::size_t>(layout->storage_size()), sizeof(float)), &std::free);
  if (zeros == nullptr) Fail("too little memory on the host for the start of the training step");
  const auto zero = [&] { return ParameterSet::View(layout, static_cast<float*>(zeros.get())); };
  TrainingState start{ParameterSet(layout), zero(), zero(), 0};
  FillWeights(&start.weights);
  return learner.Load(&start);
}

// What the host has left, or the largest number where it does not say.
std::int64_t HostBytesAvailable() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string name; meminfo >> name;) {
    std::int64_t kib = 0;
    if (name == "MemAvailable:" && meminfo >> kib) return kib << 10;
    meminfo.ignore(256, '\n');
  }
  return INT64_MAX;
}

}  // namespace

StepTime MeasureTrainingStep(Backend& backend, const ModelConfig& config, const BatchShape& shape,
                             int steps) {
  StepTime result = {.tokens = shape.tokens};
  const auto layout = ParameterLayout::Create(config);
  const PackedBatch batch = MakeBatch(config, shape);
  PassSizes sizes;
  sizes.limits = {.positions = shape.tokens,
                  .rows = shape.tokens,
                  .documents = static_cast<int>(batch.document_starts.size()) - 1,
                  .teacher_k = shape.teacher_k};
  MemoryPlan plan;
  if (!ChoosePlan(layout, backend, sizes.limits, Recompute::kWhenNeeded, {}, &plan, &result.refusal)) {
    result.refusal += "; take fewer tokens";
    return result;
  }
  result.bytes = plan.total();
  sizes.recompute = result.recompute = plan.recompute;
  const std::int64_t host = layout->storage_size() * 4 + (backend.host_memory() ? plan.total() : 0);
  if (const std::int64_t available = HostBytesAvailable(); host > available) {
    result.refusal = "needs " + std::to_string(host >> 20) + " MiB of the host's memory, and " +
                     std::to_string(available >> 20) + " MiB are available";
    return result;
  }

  Learner learner(layout, {}, backend, nullptr);
  if (!learner.Reserve(sizes) || !LoadStart(layout, learner)) Fail(backend.failure());
  struct Timed {
    double seconds, optimizer;
  };
  std::vector<Timed> timed;
  for (int step = 0; step < kWarmUpSteps + steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    const LearnedStep learned = learner.Step(std::span(&batch, 1), kInputs);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (!learned.ok) Fail(backend.failure().empty() ? "the loss is not finite" : backend.failure());
    if (step >= kWarmUpSteps) timed.push_back({seconds.count(), learned.optimizer_seconds});
    result.loss = learned.mixed_sum / learned.valid_tokens;
  }
  const auto middle = timed.begin() + static_cast<std::ptrdiff_t>(timed.size() / 2);
  std::nth_element(timed.begin(), middle, timed.end(),
                   [](const Timed& a, const Timed& b) { return a.seconds < b.seconds; });
  result.seconds = middle->seconds;
  result.optimizer_seconds = middle->optimizer;
  const double context = (std::min<double>(shape.document, static_cast<double>(shape.tokens)) + 1) / 2;
  result.flops = TrainingFlopsPerToken(config, context) * static_cast<double>(shape.tokens);
  return result;
}

}  // namespace retort::student
