#include "student/model/config.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace retort::student {
namespace {

ModelConfig DeepSeekV3() {
  ModelConfig config;
  config.vocabulary = 129280;
  config.hidden = 7168;
  config.layers = 61;
  config.dense_layers = 3;
  config.heads = 128;
  config.nope_head_dim = 128;
  config.rope_head_dim = 64;
  config.value_head_dim = 128;
  config.query_rank = 1536;
  config.kv_rank = 512;
  config.dense_width = 18432;
  config.expert_width = 2048;
  config.experts = 256;
  config.experts_per_token = 8;
  config.shared_experts = 1;
  config.expert_groups = 8;
  config.expert_groups_per_token = 4;
  config.routed_scaling = 2.5f;
  config.tied_embeddings = false;
  config.context = 163840;
  return config;
}

TEST(ConfigTest, CountsTheParametersOfDeepSeekV3) {
  EXPECT_EQ(Validate(DeepSeekV3()), "");
  EXPECT_EQ(CountParameters(DeepSeekV3()).total, 671026419200);
}

TEST(ConfigTest, CountsThePredictionModuleOfDeepSeekV3) {
  ModelConfig config = DeepSeekV3();
  config.prediction_layers = 1;
  EXPECT_EQ(Validate(config), "");
  const ParameterCounts counts = CountParameters(config);
  EXPECT_EQ(counts.total - counts.prediction_total, 671026419200);
  EXPECT_EQ(counts.active - counts.prediction_active, CountParameters(DeepSeekV3()).active);
  // Attention, two norms, router and bias, 256 + 1 experts, the projection, three norms.
  EXPECT_EQ(counts.prediction_total,
            187107328 + 2 * 7168 + 256 * 7169 + 257 * int64_t{44040192} + 2 * 7168 * 7168 + 3 * 7168);
  EXPECT_EQ(counts.prediction_total - counts.prediction_active, 248 * int64_t{44040192});
  EXPECT_EQ(CountParameters(DeepSeekV3()).prediction_total, 0);
}

TEST(ConfigTest, CountsTheReadyMadeShapes) {
  const struct {
    ModelConfig config;
    double total, active;  // millions
  } cases[] = {{UnitConfig(), 0.219, 0.145}, {NanoConfig(), 22.6, 16.7}, {SmallConfig(), 180.1, 59.0}};
  for (const auto& c : cases) {
    EXPECT_EQ(Validate(c.config), "");
    const double digit = c.total < 1 ? 0.0005 : 0.05;
    EXPECT_NEAR(CountParameters(c.config).total / 1e6, c.total, digit);
    EXPECT_NEAR(CountParameters(c.config).active / 1e6, c.active, digit);
  }
}

TEST(ConfigTest, CountsWork) {
  // Nano: 12.6 M parameters in the head alone, 6 operations each; with 128 tokens of context about 103 M in
  // all.
  EXPECT_NEAR(TrainingFlopsPerToken(NanoConfig(), 0) / 1e6, 6 * 16.7, 0.5);
  EXPECT_NEAR((TrainingFlopsPerToken(NanoConfig(), 100) - TrainingFlopsPerToken(NanoConfig(), 0)),
              6.0 * 6 * 4 * 128 * 100, 1);
  // A module: its active matrices, and the head once more.
  ModelConfig config = NanoConfig();
  config.prediction_layers = 2;
  const double norms = 2 * (256 * 5 + 128 + 64 + 16);  // and biases: no work of matrices
  EXPECT_NEAR(
      TrainingFlopsPerToken(config, 0) - TrainingFlopsPerToken(NanoConfig(), 0),
      6.0 * (static_cast<double>(CountParameters(config).prediction_active) - norms + 2.0 * 256 * 49152), 1);
  EXPECT_NEAR((TrainingFlopsPerToken(config, 100) - TrainingFlopsPerToken(config, 0)),
              6.0 * 8 * 4 * 128 * 100, 1);
}

TEST(ConfigTest, SaysWhatIsWrong) {
  const struct {
    const char* want;
    std::function<void(ModelConfig*)> change;
  } cases[] = {
      {"vocab_size is 0; wanted 1 to 1048576", [](ModelConfig* c) { c->vocabulary = 0; }},
      {"hidden_size is 65; wanted a multiple of 32", [](ModelConfig* c) { c->hidden = 65; }},
      {"first_k_dense_replace is 4; wanted 0 to 3", [](ModelConfig* c) { c->dense_layers = 4; }},
      {"qk_rope_head_dim is 7; wanted an even number", [](ModelConfig* c) { c->rope_head_dim = 7; }},
      {"q_lora_rank is 33; wanted a multiple of 32", [](ModelConfig* c) { c->query_rank = 33; }},
      {"n_group is 3; wanted a divisor of n_routed_experts 8", [](ModelConfig* c) { c->expert_groups = 3; }},
      {"n_group is 8; wanted 1 to 4", [](ModelConfig* c) { c->expert_groups = 8; }},
      {"topk_group is 4; wanted less than n_group 4", [](ModelConfig* c) { c->expert_groups_per_token = 4; }},
      {"num_nextn_predict_layers is 5; wanted 0 to 4", [](ModelConfig* c) { c->prediction_layers = 5; }},
      {"num_nextn_predict_layers is -1; wanted 0 to 4", [](ModelConfig* c) { c->prediction_layers = -1; }},
      {"num_experts_per_tok is 5; wanted at most the 4 experts of topk_group groups",
       [](ModelConfig* c) { c->experts_per_token = 5; }},
      {"n_shared_experts is 0; wanted 1 to 64", [](ModelConfig* c) { c->shared_experts = 0; }},
      {"rms_norm_eps is 0.000010; wanted 1e-6", [](ModelConfig* c) { c->rms_norm_epsilon = 1e-5; }},
      {"routed_scaling_factor is 0.000000; wanted a positive number",
       [](ModelConfig* c) { c->routed_scaling = 0; }},
      {"rope_theta is 1.000000; wanted a number above 1", [](ModelConfig* c) { c->rope_theta = 1; }},
      {"initializer_range is 0.000000; wanted above 0 and at most 1",
       [](ModelConfig* c) { c->initializer_range = 0; }},
      {"num_attention_heads * v_head_dim is 50; wanted a multiple of 32",
       [](ModelConfig* c) { c->value_head_dim = 25; }},
  };
  for (const auto& c : cases) {
    ModelConfig config = UnitConfig();
    c.change(&config);
    EXPECT_EQ(Validate(config), c.want);
  }
}

}  // namespace
}  // namespace retort::student
