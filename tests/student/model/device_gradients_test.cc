// One pass on the device, by the rig of tests/cuda_on_cpu, beside the CPU: every gradient of every form that
// a student can have.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "student/device/cpu_backend.h"
#include "student/model/pass.h"
#include "tests/student/model/learner_on_device.h"

namespace retort::student {
namespace {

struct Form {
  const char* name;
  ModelConfig config;
};

std::vector<Form> Forms() {
  const auto changed = [](const auto& change) {
    ModelConfig config = UnitConfig();
    change(config);
    return config;
  };
  return {{"unit", UnitConfig()},
          {"untied head", changed([](ModelConfig& c) { c.tied_embeddings = false; })},
          {"no query rank", changed([](ModelConfig& c) { c.query_rank = 0; })},
          {"every expert", changed([](ModelConfig& c) {
             c.experts_per_token = c.experts = 4;
             c.expert_groups = c.expert_groups_per_token = 1;
           })},
          {"all dense", changed([](ModelConfig& c) { c.dense_layers = c.layers; })},
          {"no dense layer", changed([](ModelConfig& c) { c.dense_layers = 0; })},
          {"two shared experts", changed([](ModelConfig& c) { c.shared_experts = 2; })},
          {"raw weights", changed([](ModelConfig& c) {
             c.normalise_expert_weights = false;
             c.routed_scaling = 2.5f;
           })},
          {"odd vocabulary", changed([](ModelConfig& c) { c.vocabulary = 333; })},
          {"one module", changed([](ModelConfig& c) { c.prediction_layers = 1; })},
          {"two modules, untied head, no query rank", changed([](ModelConfig& c) {
             c.prediction_layers = 2;
             c.tied_embeddings = false;
             c.query_rank = 0;
           })}};
}

struct Computed {
  PassSums sums = {};
  std::vector<float> gradients;
  std::vector<std::int64_t> loads;
};

// What one micro-batch gives on a backend, in memory that is freed with it.
Computed Compute(Backend& backend, const ParameterSet& weights, const PackedBatch& batch,
                 const LossOptions& options) {
  const ParameterLayout& layout = weights.layout();
  const ModelConfig& config = layout.config();
  const std::int64_t size = layout.storage_size(), bytes = size * 4;
  std::vector<void*> owned;
  const auto allocate = [&](std::int64_t count) {
    owned.push_back(backend.Allocate(count));
    backend.Zero(owned.back(), count);
    return owned.back();
  };
  auto* const values = static_cast<float*>(allocate(bytes));
  auto* const gradients = static_cast<float*>(allocate(bytes));
  auto* const factors = static_cast<PassFactors*>(allocate(sizeof(PassFactors)));
  auto* const sums = static_cast<PassSums*>(allocate(sizeof(PassSums)));
  const bool rounded = backend.activation() == Element::kBf16;
  auto* const matrices = rounded ? static_cast<Bf16*>(allocate(size * 2)) : nullptr;
  backend.Upload(weights.storage().data(), bytes, values);
  if (rounded) backend.Convert(values, size, {matrices, Element::kBf16});
  const PassFactors host_factors = FactorsOf(config, options, 1 / ValidTokens(batch));
  backend.Upload(&host_factors, sizeof(host_factors), factors);

  Computed result;
  result.gradients.resize(static_cast<std::size_t>(size));
  result.loads.assign(static_cast<std::size_t>(config.moe_layers()) * config.experts, 0);
  {
    Pass pass(weights.shared_layout(), backend);
    EXPECT_TRUE(pass.Reserve({.limits = {.positions = batch.size(),
                                         .rows = batch.size(),
                                         .documents = static_cast<int>(batch.document_starts.size()) - 1,
                                         .teacher_k = batch.teacher_k,
                                         .slots = batch.size() * config.experts_per_token},
                              .activation = backend.activation()}))
        << backend.failure();
    const WeightView view = {&layout, values, matrices, gradients};
    const BatchTables& tables = pass.Upload(batch);
    pass.Forward(view, tables);
    pass.Backward(view, tables, options, factors, sums);
    pass.AddLoads(result.loads);
    backend.Download(gradients, bytes, result.gradients.data());
    backend.Download(sums, sizeof(PassSums), &result.sums);
    EXPECT_EQ(backend.Finish(), "");
  }
  for (void* memory : owned) backend.Free(memory);
  return result;
}

// Weights a few times as large as at the start, so that every part of the student shows in every gradient.
ParameterSet LivelyWeights(const ModelConfig& config) {
  ParameterSet weights(ParameterLayout::Create(config));
  InitializeParameters(7, &weights);
  const auto tensors = weights.layout().tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].kind == ParameterKind::kNorm || tensors[i].kind == ParameterKind::kState) continue;
    for (float& value : weights.tensor(static_cast<int>(i))) value *= 4;
  }
  return weights;
}

class DeviceGradientsTest : public testing::TestWithParam<Form> {};
INSTANTIATE_TEST_SUITE_P(Forms, DeviceGradientsTest, testing::ValuesIn(Forms()), [](const auto& info) {
  std::string name = info.param.name;
  std::erase_if(name, [](char c) { return c == ','; });
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

// In fp32 element by element, against the largest of its tensor: other orders of summation, in a chain of
// products and norms as long as the student is deep (Rho).
TEST_P(DeviceGradientsTest, EveryGradientIsTheCpus) {
  const ModelConfig& config = GetParam().config;
  ASSERT_EQ(Validate(config), "");
  const ParameterSet weights = LivelyWeights(config);
  const PackedBatch batch = RandomBatch(config, {17, 1, 9, 3}, 4, 11);
  const LossOptions options = {.ce_weight = 0.3f, .balance_weight = 1e-2f, .prediction_weight = 0.5f};
  ThreadPool pool(1);
  const auto cpu = MakeCpuBackend(pool, Isa::kPlain), device = OpenOrFail(Element::kF32);
  ASSERT_NE(device, nullptr);
  const Computed want = Compute(*cpu, weights, batch, options),
                 got = Compute(*device, weights, batch, options);
  const double rho = Rho(config, 0);
  EXPECT_EQ(got.loads, want.loads);
  EXPECT_NEAR(got.sums.head.mixed_sum, want.sums.head.mixed_sum, rho * want.sums.head.mixed_sum);
  EXPECT_NEAR(got.sums.predictions.ce_sum, want.sums.predictions.ce_sum, rho * want.sums.predictions.ce_sum);
  EXPECT_EQ(got.sums.predictions.valid_tokens, want.sums.predictions.valid_tokens);
  double worst = 0;
  for (const ParameterInfo& info : weights.layout().tensors()) {
    if (!info.trained()) continue;
    double largest = 0;
    for (std::int64_t j = info.offset; j < info.offset + info.size; ++j)
      largest = std::max<double>(largest, std::abs(want.gradients[static_cast<std::size_t>(j)]));
    for (std::int64_t j = info.offset; j < info.offset + info.size; ++j) {
      const auto at = static_cast<std::size_t>(j);
      const double error = std::abs(double{got.gradients[at]} - want.gradients[at]);
      ASSERT_LE(error, rho * largest) << info.name << "[" << j - info.offset << "]";
      if (largest > 0) worst = std::max(worst, error / (rho * largest));
    }
  }
  std::printf("%s: worst gradient error %.2g of the bound\n", GetParam().name, worst);
}

// In bf16 tensor by tensor, in the 2-norm. Rounding can change a choice of experts, and then everything after
// it; so with every expert chosen.
TEST(DeviceGradientsBf16Test, EveryTensorIsNearTheCpus) {
  ModelConfig config = UnitConfig();
  config.experts = config.experts_per_token = 4;
  config.expert_groups = config.expert_groups_per_token = 1;
  config.prediction_layers = 2;
  const ParameterSet weights = LivelyWeights(config);
  const PackedBatch batch = RandomBatch(config, {17, 1, 9, 3}, 4, 11);
  const LossOptions options = {.ce_weight = 0.3f, .prediction_weight = 0.5f};
  ThreadPool pool(1);
  const auto cpu = MakeCpuBackend(pool, Isa::kPlain), device = OpenOrFail(Element::kBf16);
  ASSERT_NE(device, nullptr);
  const Computed want = Compute(*cpu, weights, batch, options),
                 got = Compute(*device, weights, batch, options);
  const double bound = Rho(config, 0x1p-8);
  double worst = 0;
  for (const ParameterInfo& info : weights.layout().tensors()) {
    if (!info.trained()) continue;
    double error = 0, size = 0;
    for (std::int64_t j = info.offset; j < info.offset + info.size; ++j) {
      const auto at = static_cast<std::size_t>(j);
      error += std::pow(double{got.gradients[at]} - want.gradients[at], 2);
      size += std::pow(double{want.gradients[at]}, 2);
    }
    EXPECT_LE(std::sqrt(error), bound * std::sqrt(size)) << info.name;
    worst = std::max(worst, std::sqrt(error / size));
  }
  std::printf("bf16: worst relative error of a gradient %.2g, bound %.2g\n", worst, bound);
}

}  // namespace
}  // namespace retort::student
