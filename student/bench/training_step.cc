#include "student/bench/training_step.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "student/model/pass.h"

namespace retort::student {
namespace {

constexpr int kWarmUpSteps = 2;

// Weights that a fresh model could have, from the short pattern of BenchMemory: norms 1, state 0, the rest
// small.
float* MakeWeights(Backend& backend, const ParameterLayout& layout, BenchMemory* memory) {
  float* const weights = memory->Floats(layout.storage_size(), 0.03f);
  for (const ParameterInfo& tensor : layout.tensors()) {
    if (tensor.kind != ParameterKind::kNorm && tensor.kind != ParameterKind::kState) continue;
    const std::vector<float> values(static_cast<std::size_t>(tensor.size),
                                    tensor.kind == ParameterKind::kNorm ? 1.0f : 0.0f);
    backend.Upload(values.data(), tensor.size * 4, weights + tensor.offset);
  }
  return weights;
}

[[noreturn]] void Fail(const std::string& sentence) {
  std::fprintf(stderr, "device_bench: %s\n", sentence.c_str());
  std::exit(1);
}

}  // namespace

StepTime MeasureTrainingStep(Backend& backend, const ModelConfig& config, const BatchShape& shape,
                             int steps) {
  StepTime result = {.tokens = shape.tokens};
  const auto layout = ParameterLayout::Create(config);
  const std::int64_t size = layout->storage_size();
  const bool copies = backend.activation() == Element::kBf16;
  const PackedBatch host = MakeBatch(config, shape);
  const int documents = static_cast<int>(host.document_starts.size()) - 1;
  PassSizes sizes = {.limits = {.positions = shape.tokens,
                                .rows = shape.tokens,
                                .documents = documents,
                                .teacher_k = shape.teacher_k,
                                .slots = shape.tokens * config.experts_per_token},
                     .key_rows = shape.tokens,
                     .activation = backend.activation()};
  const auto needed = [&] {
    return size * (copies ? 18 : 16) + Pass::BytesNeeded(layout, sizes) +
           backend.WorkspaceBytes(*layout, sizes.limits);
  };
  result.bytes = needed();
  const std::int64_t free_bytes = backend.description().free_bytes;
  if (free_bytes > 0 && result.bytes > free_bytes) {
    sizes.recompute = result.recompute = true;
    result.bytes = needed();
  }
  if (free_bytes > 0 && result.bytes > free_bytes) {
    result.refusal = "needs " + std::to_string(result.bytes) +
                     " bytes of device memory with activations computed "
                     "again, and " +
                     std::to_string(free_bytes) + " are free; take fewer tokens";
    return result;
  }

  BenchMemory memory(backend);
  float* const weights = MakeWeights(backend, *layout, &memory);
  float* const gradients = memory.Zeros<float>(size);
  const OptimizerTensors tensors = {.layout = layout.get(),
                                    .gradients = gradients,
                                    .weights = weights,
                                    .first_moment = memory.Zeros<float>(size),
                                    .second_moment = memory.Zeros<float>(size),
                                    .matrices = copies ? memory.Zeros<Bf16>(size) : nullptr};
  if (copies) backend.Convert(weights, size, {tensors.matrices, Element::kBf16});
  const PassFactors one_token = FactorsOf(config, {}, 1 / static_cast<double>(shape.tokens));
  const PassFactors* const factors = memory.Copy(std::span(&one_token, 1));
  auto* const sums = memory.Zeros<PassSums>(1);
  double* const norm = memory.Zeros<double>(1);
  Pass pass(layout, backend);
  if (!pass.Reserve(sizes)) Fail(backend.failure());

  const WeightView view = {layout.get(), weights, tensors.matrices, gradients};
  std::vector<std::int64_t> loads(static_cast<std::size_t>(config.moe_layers() * config.experts));
  std::vector<double> seconds;
  for (int step = 0; step < kWarmUpSteps + steps; ++step) {
    const auto start = std::chrono::steady_clock::now();
    backend.Zero(gradients, size * 4);
    backend.Zero(sums, sizeof(PassSums));
    const BatchTables& batch = pass.Upload(host);
    pass.Forward(view, batch);
    pass.Backward(view, batch, {}, factors, sums);
    backend.GlobalNorm(tensors, norm);
    PassSums host_sums;
    double host_norm = 0;
    backend.Download(sums, sizeof(host_sums), &host_sums);
    backend.Download(norm, sizeof(host_norm), &host_norm);
    if (!backend.Finish().empty()) Fail(backend.failure());
    if (!std::isfinite(host_norm)) Fail("the norm of the gradients is not finite");
    backend.StepAdamW({}, tensors, host_norm, 1e-4, step);
    std::fill(loads.begin(), loads.end(), 0);
    pass.AddLoads(loads);
    backend.UpdateExpertBias(*layout, loads, 1e-3, weights);
    if (!backend.Finish().empty()) Fail(backend.failure());
    if (step >= kWarmUpSteps) {
      seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    result.loss = host_sums.head.mixed_sum / static_cast<double>(shape.tokens);
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2),
                   seconds.end());
  result.seconds = seconds[seconds.size() / 2];
  const double context = (std::min<double>(shape.document, static_cast<double>(shape.tokens)) + 1) / 2;
  result.flops = TrainingFlopsPerToken(config, context) * static_cast<double>(shape.tokens);
  return result;
}

}  // namespace retort::student
