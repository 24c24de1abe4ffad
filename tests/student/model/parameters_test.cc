#include "student/model/parameters.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <set>
#include <string>

namespace retort::student {
namespace {

using Dimensions = std::vector<std::int64_t>;

TEST(ParametersTest, NamesAndShapesAreThoseOfTransformers) {
  const auto layout = ParameterLayout::Create(UnitConfig());
  const auto shape = [&](const char* name) { return layout->tensors()[layout->Find(name)].shape; };
  EXPECT_EQ(shape("model.embed_tokens.weight"), (Dimensions{512, 64}));
  EXPECT_EQ(shape("model.layers.0.self_attn.q_b_proj.weight"), (Dimensions{96, 32}));
  EXPECT_EQ(shape("model.layers.0.self_attn.kv_a_proj_with_mqa.weight"), (Dimensions{48, 64}));
  EXPECT_EQ(shape("model.layers.0.self_attn.kv_b_proj.weight"), (Dimensions{128, 32}));
  EXPECT_EQ(shape("model.layers.0.mlp.down_proj.weight"), (Dimensions{64, 128}));
  EXPECT_EQ(shape("model.layers.2.mlp.gate.e_score_correction_bias"), (Dimensions{8}));
  EXPECT_EQ(shape("model.layers.2.mlp.experts.7.up_proj.weight"), (Dimensions{32, 64}));
  EXPECT_EQ(shape("model.layers.1.mlp.shared_experts.down_proj.weight"), (Dimensions{64, 32}));
  EXPECT_EQ(layout->Find("lm_head.weight"), -1);
  EXPECT_EQ(layout->Find("model.layers.0.mlp.gate.weight"), -1);
  // 1 embedding, 3 x 9 of attention and norms, 3 dense, 2 x (2 router + 24 routed + 3 shared), 1 norm.
  EXPECT_EQ(layout->tensors().size(), 1u + 27 + 3 + 58 + 1);
}

TEST(ParametersTest, UntiedHeadAndFullQueryHaveTheirTensors) {
  ModelConfig config = UnitConfig();
  config.tied_embeddings = false;
  config.query_rank = 0;
  const auto layout = ParameterLayout::Create(config);
  EXPECT_EQ(layout->tensors()[layout->Find("lm_head.weight")].shape, (Dimensions{512, 64}));
  EXPECT_EQ(layout->tensors()[layout->Find("model.layers.1.self_attn.q_proj.weight")].shape,
            (Dimensions{96, 64}));
  EXPECT_EQ(layout->Find("model.layers.1.self_attn.q_a_proj.weight"), -1);
}

TEST(ParametersTest, PredictionModulesAreFurtherLayers) {
  ModelConfig config = UnitConfig();
  config.prediction_layers = 2;
  const auto layout = ParameterLayout::Create(config);
  const auto shape = [&](const char* name) { return layout->tensors()[layout->Find(name)].shape; };
  EXPECT_EQ(shape("model.layers.3.eh_proj.weight"), (Dimensions{64, 128}));
  EXPECT_EQ(shape("model.layers.3.enorm.weight"), (Dimensions{64}));
  EXPECT_EQ(shape("model.layers.4.hnorm.weight"), (Dimensions{64}));
  EXPECT_EQ(shape("model.layers.4.shared_head.norm.weight"), (Dimensions{64}));
  EXPECT_EQ(shape("model.layers.4.mlp.experts.7.up_proj.weight"), (Dimensions{32, 64}));
  EXPECT_EQ(layout->Find("model.layers.2.eh_proj.weight"), -1);
  EXPECT_EQ(layout->Find("model.layers.5.eh_proj.weight"), -1);
  // 9 of attention and norms, 29 of a routed network, 4 of its own.
  EXPECT_EQ(layout->tensors().size(), ParameterLayout::Create(UnitConfig())->tensors().size() + 2 * 42);
}

TEST(ParametersTest, TensorsDoNotOverlapAndAddUp) {
  ModelConfig predicting = UnitConfig();
  predicting.prediction_layers = 2;
  for (const ModelConfig& config : {UnitConfig(), NanoConfig(), predicting}) {
    const auto layout = ParameterLayout::Create(config);
    std::int64_t total = 0, end = 0;
    std::set<std::string> names;
    for (const ParameterInfo& info : layout->tensors()) {
      EXPECT_GE(info.offset, end);
      EXPECT_EQ(info.offset % 16, 0);
      end = info.offset + info.size;
      total += info.size;
      EXPECT_TRUE(names.insert(info.name).second);
    }
    EXPECT_LE(end, layout->storage_size());
    EXPECT_EQ(total, CountParameters(config).total);
    for (std::size_t i = 1; i < layout->by_name().size(); ++i) {
      EXPECT_LT(layout->tensors()[layout->by_name()[i - 1]].name,
                layout->tensors()[layout->by_name()[i]].name);
    }
  }
}

TEST(ParametersTest, DecayFollowsTheKind) {
  const auto layout = ParameterLayout::Create(UnitConfig());
  const auto info = [&](const char* name) { return layout->tensors()[layout->Find(name)]; };
  EXPECT_FALSE(info("model.embed_tokens.weight").decays());
  EXPECT_FALSE(info("model.norm.weight").decays());
  EXPECT_TRUE(info("model.layers.1.mlp.gate.weight").decays());
  EXPECT_FALSE(info("model.layers.1.mlp.gate.e_score_correction_bias").trained());
}

TEST(ParametersTest, StartIsNormalAndDependsOnSeedAndNameAlone) {
  ModelConfig larger = UnitConfig();
  larger.layers = 5;
  ParameterSet a(ParameterLayout::Create(UnitConfig())), b(ParameterLayout::Create(larger)),
      c(a.shared_layout());
  InitializeParameters(1, &a);
  InitializeParameters(1, &b);
  InitializeParameters(2, &c);
  const char* const name = "model.layers.2.self_attn.o_proj.weight";
  const auto values = [&](const ParameterSet& set) { return set.tensor(set.layout().Find(name)); };
  EXPECT_TRUE(std::equal(values(a).begin(), values(a).end(), values(b).begin()));
  EXPECT_FALSE(std::equal(values(a).begin(), values(a).end(), values(c).begin()));

  double sum = 0, squares = 0, fourth = 0;
  const auto embedding = a.tensor(a.layout().Find("model.embed_tokens.weight"));
  for (const float x : embedding) {
    sum += x;
    squares += x * x;
    fourth += std::pow(x, 4);
  }
  const double n = static_cast<double>(embedding.size()), variance = squares / n;
  EXPECT_NEAR(sum / n, 0, 0.02 * 4 / std::sqrt(n));
  EXPECT_NEAR(variance, 0.0004, 0.0004 * 4 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth / n / (variance * variance), 3, 4 * std::sqrt(24 / n));  // a normal's
  EXPECT_EQ(a.tensor(a.layout().Find("model.norm.weight"))[0], 1.0f);
  EXPECT_EQ(a.tensor(a.layout().Find("model.layers.1.mlp.gate.e_score_correction_bias"))[3], 0.0f);
}

TEST(ParametersTest, StartIsTheSameAsEver) {
  // A change of these would silently change every run: printed by the first version.
  ParameterSet set(ParameterLayout::Create(UnitConfig()));
  InitializeParameters(42, &set);
  const auto embedding = set.tensor(0);
  EXPECT_FLOAT_EQ(embedding[0], -0.00382950413f);
  EXPECT_FLOAT_EQ(embedding[32767], -0.0367925838f);
}

TEST(ParametersTest, CloneIsApart) {
  ParameterSet set(ParameterLayout::Create(UnitConfig()));
  InitializeParameters(1, &set);
  ParameterSet copy = set.Clone();
  EXPECT_TRUE(std::equal(set.storage().begin(), set.storage().end(), copy.storage().begin()));
  copy.SetZero();
  EXPECT_NE(set.tensor(0)[0], 0);
}

}  // namespace
}  // namespace retort::student
