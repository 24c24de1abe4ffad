// The model against transformers' DeepseekV3ForCausalLM: tests/student/golden/make_deepseek_golden.py made
// the file and describes it. Weights, tokens and teachers come from the same hash on both sides.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "student/model/model.h"
#include "student/optimizer/adamw.h"

namespace retort::student {
namespace {

ModelConfig GoldenConfig() {
  ModelConfig config;
  config.vocabulary = 64;
  config.hidden = 32;
  config.layers = 3;
  config.dense_layers = 1;
  config.heads = 2;
  config.nope_head_dim = 32;
  config.rope_head_dim = 8;
  config.value_head_dim = 16;
  config.query_rank = 32;
  config.kv_rank = 32;
  config.dense_width = 64;
  config.expert_width = 32;
  config.experts = 8;
  config.experts_per_token = 3;
  config.shared_experts = 1;
  config.expert_groups = 4;
  config.expert_groups_per_token = 2;
  config.routed_scaling = 2.5f;
  config.tied_embeddings = false;
  config.context = 64;
  return config;
}

// In [-0.5, 0.5), exact.
std::vector<float> Uniform(std::string_view name, std::size_t count) {
  std::uint32_t hash = 0x811c9dc5;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193u;
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t x = (hash ^ (static_cast<std::uint32_t>(i) * 0x9e3779b1u)) * 0x85ebca6bu;
    x = (x ^ (x >> 13)) * 0xc2b2ae35u;
    values[i] = static_cast<float>(static_cast<double>(x >> 8) / 16777216.0 - 0.5);
  }
  return values;
}

ParameterSet GoldenParameters(const std::shared_ptr<const ParameterLayout>& layout) {
  ParameterSet parameters(layout);
  for (std::size_t i = 0; i < layout->tensors().size(); ++i) {
    const ParameterInfo& info = layout->tensors()[i];
    const std::span<float> values = parameters.tensor(static_cast<int>(i));
    const std::vector<float> uniform = Uniform(info.name, values.size());
    for (std::size_t j = 0; j < values.size(); ++j) {
      values[j] = info.kind == ParameterKind::kNorm    ? 1 + uniform[j] * 0.5f
                  : info.kind == ParameterKind::kState ? (uniform[j] + 0.5f) * 0.25f
                                                       : uniform[j] * 0.5f;
    }
  }
  return parameters;
}

PackedBatch GoldenBatch(const ModelConfig& config) {
  PackedBatch batch;
  batch.teacher_k = 4;
  batch.document_starts = {0};
  int document = 0;
  for (const int length : {19, 12}) {
    const auto ids = [&](const char* what) {
      std::vector<std::int32_t> result;
      for (const float u : Uniform(std::string(what) + "." + std::to_string(document), length)) {
        result.push_back(static_cast<std::int32_t>((u + 0.5) * config.vocabulary));
      }
      return result;
    };
    const auto tokens = ids("tokens"), targets = ids("targets"), base = ids("teacher");
    for (int t = 0; t < length; ++t) {
      batch.tokens.push_back(tokens[t]);
      batch.targets.push_back(targets[t]);
      batch.positions.push_back(t);
      batch.weights.push_back(1.0f);
      batch.teacher_counts.push_back(4);
      for (int k = 0; k < 4; ++k) {
        batch.teacher_ids.push_back((base[t] + 7 * k) % config.vocabulary);
        batch.teacher_logprobs.push_back(static_cast<float>(std::log(std::pow(0.5, k + 1))));
      }
      batch.teacher_tail_logprobs.push_back(static_cast<float>(std::log(std::pow(0.5, 4))));
    }
    batch.document_starts.push_back(static_cast<std::int32_t>(batch.tokens.size()));
    ++document;
  }
  return batch;
}

class GoldenTest : public testing::TestWithParam<Isa> {
 protected:
  GoldenTest() : pool_(2) {
    std::ifstream file(RETORT_SOURCE_DIR "/tests/student/golden/deepseek_golden.bin", std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    golden_.resize(bytes.size() / sizeof(float));
    std::copy_n(bytes.data(), golden_.size() * sizeof(float), reinterpret_cast<char*>(golden_.data()));
  }
  // The next `count` values of the file.
  std::span<const float> Next(std::size_t count) {
    EXPECT_LE(next_ + count, golden_.size());
    next_ += count;
    return std::span(golden_).subspan(next_ - count, count);
  }

  ThreadPool pool_;
  std::vector<float> golden_;
  std::size_t next_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Isas, GoldenTest, testing::Values(Isa::kPlain, Isa::kAvx2, Isa::kAvx512),
                         [](const auto& info) { return std::string(IsaName(info.param)); });

TEST_P(GoldenTest, AgreesWithTransformers) {
  if (!IsaSupported(GetParam())) GTEST_SKIP() << "this processor has no " << IsaName(GetParam());
  const ModelConfig config = GoldenConfig();
  ASSERT_EQ(Validate(config), "");
  Model model(config, pool_, GetParam());
  ParameterSet parameters = GoldenParameters(model.layout());
  const PackedBatch batch = GoldenBatch(config);
  ASSERT_EQ(ValidateBatch(config, batch), "");
  const int tokens = static_cast<int>(batch.size());
  const double inverse = 1.0 / tokens;

  double worst = 0;
  for (int d = 0; d < 2; ++d) {
    const std::int32_t first = batch.document_starts[d], count = batch.document_starts[d + 1] - first;
    std::vector<std::int32_t> rows(count);
    for (std::int32_t i = 0; i < count; ++i) rows[i] = i;
    const auto logits = model.ForwardLogits(
        parameters, std::span<const std::int32_t>(batch.tokens).subspan(first, count), rows);
    const auto want = Next(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      ASSERT_TRUE(std::isfinite(logits[i]));
      worst = std::max<double>(worst, std::fabs(logits[i] - want[i]));
    }
  }
  std::printf("worst logit difference %.2g\n", worst);
  EXPECT_LE(worst, 1e-3);

  Gradients gradients(model.layout());
  EXPECT_NEAR(model.AccumulateGradients(parameters, batch, {.ce_weight = 1}, inverse, &gradients).loss,
              Next(1)[0], 1e-5);
  gradients.SetZero();
  EXPECT_NEAR(model.AccumulateGradients(parameters, batch, {.ce_weight = 0.3f}, inverse, &gradients).loss,
              Next(1)[0], 1e-5);
  double worst_ratio = 0;
  for (std::size_t i = 0; i < model.layout()->tensors().size(); ++i) {
    const ParameterInfo& info = model.layout()->tensors()[i];
    if (!info.trained()) continue;
    const auto got = gradients.tensor(static_cast<int>(i));
    const auto want = Next(got.size());
    for (std::size_t j = 0; j < got.size(); ++j) {
      const double bound = 1e-6 + 1e-4 * std::fabs(want[j]);
      worst_ratio = std::max(worst_ratio, std::fabs(got[j] - want[j]) / bound);
      ASSERT_LE(std::fabs(got[j] - want[j]), bound) << info.name << "[" << j << "] wanted " << want[j];
    }
  }
  std::printf("worst gradient difference, in units of 1e-6 + 1e-4 * |reference|: %.2g\n", worst_ratio);

  AdamW optimizer(model.layout(), {}, pool_, GetParam());
  const auto losses = Next(10);
  double worst_loss = 0;
  for (int step = 0; step < 10; ++step) {
    gradients.SetZero();
    const double loss =
        model.AccumulateGradients(parameters, batch, {.ce_weight = 0.3f}, inverse, &gradients).loss;
    worst_loss = std::max(worst_loss, std::fabs(loss - losses[step]));
    EXPECT_NEAR(loss, losses[step], 1e-5) << "AdamW step " << step;
    optimizer.Step(&parameters, gradients, 3e-3);
  }
  std::printf("worst AdamW loss difference: %.2g\n", worst_loss);
  EXPECT_EQ(next_, golden_.size());
}

}  // namespace
}  // namespace retort::student
