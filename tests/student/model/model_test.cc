#include "student/model/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "student/optimizer/adamw.h"
#include "student/optimizer/expert_bias.h"
#include "tests/student/model/random_batch.h"

namespace retort::student {
namespace {

// Weights ten times as large as at the start of training, so that no gradient is lost in rounding.
ParameterSet LivelyParameters(const std::shared_ptr<const ParameterLayout>& layout) {
  ParameterSet parameters(layout);
  InitializeParameters(7, &parameters);
  for (std::size_t i = 0; i < layout->tensors().size(); ++i) {
    const ParameterInfo& info = layout->tensors()[i];
    if (info.kind == ParameterKind::kMatrix || info.kind == ParameterKind::kEmbedding) {
      for (float& value : parameters.tensor(static_cast<int>(i))) value *= 5;
    }
    if (info.kind == ParameterKind::kState) {
      int e = 0;
      for (float& value : parameters.tensor(static_cast<int>(i))) value = (e++ % 3 - 1) * 0.05f;
    }
  }
  return parameters;
}

bool SameBits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

std::vector<Isa> FastIsas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    if (IsaSupported(isa)) isas.push_back(isa);
  }
  return isas;
}

class ModelShapeTest : public testing::TestWithParam<const char*> {
 protected:
  static ModelConfig Config() {
    ModelConfig config = UnitConfig();
    const std::string name = GetParam();
    if (name == "full_query") config.query_rank = 0;
    if (name == "untied") config.tied_embeddings = false;
    if (name == "all_dense") config.dense_layers = config.layers;
    if (name == "odd_vocabulary") config.vocabulary = 333;
    if (name == "two_shared")
      config.shared_experts = 2, config.expert_groups = 1, config.expert_groups_per_token = 1;
    if (name == "predicting") config.prediction_layers = 1;
    if (name == "predicting_twice") config.prediction_layers = 2, config.tied_embeddings = false;
    if (name == "scaled_raw_weights") config.normalise_expert_weights = false, config.routed_scaling = 2.5f;
    return config;
  }
};
INSTANTIATE_TEST_SUITE_P(Shapes, ModelShapeTest,
                         testing::Values("unit", "full_query", "untied", "all_dense", "odd_vocabulary",
                                         "two_shared", "scaled_raw_weights", "predicting",
                                         "predicting_twice"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(ModelShapeTest, FastPathsAgreeWithPlain) {
  const ModelConfig config = Config();
  ASSERT_EQ(Validate(config), "");
  ThreadPool pool(2);
  Model plain(config, pool, Isa::kPlain);
  const PackedBatch batch = RandomBatch(config, {37, 1, 90, 5}, 6, 11);
  const double inverse = 1 / ValidTokens(batch);
  const LossOptions options = {.ce_weight = 0.3f, .balance_weight = 1e-2f};
  for (const Isa isa : FastIsas()) {
    Model fast(config, pool, isa);
    const ParameterSet parameters = LivelyParameters(plain.layout());
    ParameterSet same(fast.layout());
    std::copy(parameters.storage().begin(), parameters.storage().end(), same.storage().begin());
    Gradients want(plain.layout()), got(fast.layout());
    const BatchResult a = plain.AccumulateGradients(parameters, batch, options, inverse, &want);
    const BatchResult b = fast.AccumulateGradients(same, batch, options, inverse, &got);
    EXPECT_NEAR(a.loss, b.loss, 1e-5);
    EXPECT_NEAR(a.ce_sum, b.ce_sum, 1e-3);
    EXPECT_NEAR(a.kl_sum, b.kl_sum, 1e-3);
    EXPECT_EQ(a.expert_counts, b.expert_counts);
    double worst = 0;
    for (std::size_t i = 0; i < plain.layout()->tensors().size(); ++i) {
      const auto w = want.tensor(static_cast<int>(i)), g = got.tensor(static_cast<int>(i));
      double scale = 0;
      for (const float value : w) scale = std::max<double>(scale, std::fabs(value));
      for (std::size_t j = 0; j < w.size(); ++j) {
        const double error = std::fabs(w[j] - g[j]);
        worst = std::max(worst, error / (scale + 1e-6));
        // Sums of up to 133 tokens over four layers deep: a few hundred roundings of 6e-8, relative to the
        // largest element.
        ASSERT_LE(error, 1e-6 + 2e-4 * scale) << plain.layout()->tensors()[i].name << "[" << j << "]";
      }
    }
    std::printf("worst gradient error of %s against plain, relative to the tensor's largest: %.2g\n",
                IsaName(isa), worst);
  }
}

TEST_P(ModelShapeTest, ThreadsDoNotChangeABit) {
  const ModelConfig config = Config();
  const PackedBatch first = RandomBatch(config, {64, 9, 120}, 5, 1),
                    second = RandomBatch(config, {200}, 5, 2);
  const double inverse = 1 / (ValidTokens(first) + ValidTokens(second));
  std::vector<ParameterSet> weights, gradients;
  std::vector<double> losses;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    Model model(config, pool);
    ParameterSet parameters = LivelyParameters(model.layout());
    Gradients gradient(model.layout());
    AdamW optimizer(model.layout(), {}, pool);
    for (int step = 0; step < 2; ++step) {
      gradient.SetZero();
      BatchResult result =
          model.AccumulateGradients(parameters, first, {.balance_weight = 1e-4f}, inverse, &gradient);
      const BatchResult more =
          model.AccumulateGradients(parameters, second, {.balance_weight = 1e-4f}, inverse, &gradient);
      for (std::size_t e = 0; e < result.expert_counts.size(); ++e)
        result.expert_counts[e] += more.expert_counts[e];
      optimizer.Step(&parameters, gradient, 1e-2);
      UpdateExpertBias(result.expert_counts, 1e-3, &parameters);
      losses.push_back(result.loss + more.loss);
    }
    weights.push_back(std::move(parameters));
    gradients.push_back(std::move(gradient));
  }
  for (int i = 1; i < 3; ++i) {
    EXPECT_TRUE(SameBits(weights[0].storage(), weights[i].storage()));
    EXPECT_TRUE(SameBits(gradients[0].storage(), gradients[i].storage()));
    EXPECT_EQ(losses[0], losses[2 * i]);
    EXPECT_EQ(losses[1], losses[2 * i + 1]);
  }
}

TEST_P(ModelShapeTest, DecodingGivesTheBitsOfTheFullPass) {
  const ModelConfig config = Config();
  ThreadPool pool(2);
  for (const Isa isa : FastIsas()) {
    Model model(config, pool, isa);
    const ParameterSet parameters = LivelyParameters(model.layout());
    const PackedBatch batch = RandomBatch(config, {83}, 0, 3);
    const std::vector<std::int32_t> rows = {82, 3, 69};
    const std::vector<float> full = model.ForwardLogits(parameters, batch.tokens, rows);
    LatentCache cache(config, 100);
    const std::span<const std::int32_t> tokens = batch.tokens;
    model.Extend(parameters, tokens.first(70), &cache);
    std::vector<float> last;
    for (int t = 70; t < 83; ++t) last = model.Extend(parameters, tokens.subspan(t, 1), &cache);
    EXPECT_TRUE(SameBits(std::span(full).first(config.vocabulary), last));
    cache.Truncate(0);
    last = model.Extend(parameters, tokens.first(4), &cache);
    EXPECT_TRUE(SameBits(std::span(full).subspan(config.vocabulary, config.vocabulary), last));
  }
}

TEST(ModelTest, DocumentsDoNotSeeEachOther) {
  const ModelConfig config = UnitConfig();
  ThreadPool pool(2);
  Model model(config, pool);
  const ParameterSet parameters = LivelyParameters(model.layout());
  PackedBatch batch = RandomBatch(config, {20, 30}, 0, 5);
  const auto before = model.Evaluate(parameters, batch);
  batch.tokens[3] = (batch.tokens[3] + 1) % config.vocabulary;
  const auto after = model.Evaluate(parameters, batch);
  for (int t = 20; t < 50; ++t) EXPECT_EQ(before[t].cross_entropy, after[t].cross_entropy) << t;
  EXPECT_NE(before[10].cross_entropy, after[10].cross_entropy);
}

TEST(ModelTest, LaterTokensDoNotChangeEarlierOnes) {
  const ModelConfig config = UnitConfig();
  ThreadPool pool(1);
  Model model(config, pool);
  const ParameterSet parameters = LivelyParameters(model.layout());
  PackedBatch batch = RandomBatch(config, {40}, 0, 6);
  const auto before = model.Evaluate(parameters, batch);
  batch.tokens[25] = (batch.tokens[25] + 1) % config.vocabulary;
  const auto after = model.Evaluate(parameters, batch);
  for (int t = 8; t < 25; ++t) EXPECT_EQ(before[t].cross_entropy, after[t].cross_entropy) << t;
  EXPECT_NE(before[25].cross_entropy, after[25].cross_entropy);
}

TEST(ModelTest, SplittingAStepKeepsItsGradient) {
  const ModelConfig config = UnitConfig();
  ThreadPool pool(2);
  Model model(config, pool);
  const ParameterSet parameters = LivelyParameters(model.layout());
  const PackedBatch whole = RandomBatch(config, {24, 24}, 4, 8);
  const auto half = [&](int first) {
    PackedBatch part;
    const auto cut = [&](const auto& from, auto* to, int width) {
      to->assign(from.begin() + first * width, from.begin() + (first + 24) * width);
    };
    cut(whole.tokens, &part.tokens, 1);
    cut(whole.positions, &part.positions, 1);
    cut(whole.targets, &part.targets, 1);
    cut(whole.weights, &part.weights, 1);
    part.teacher_k = 4;
    cut(whole.teacher_counts, &part.teacher_counts, 1);
    cut(whole.teacher_ids, &part.teacher_ids, 4);
    cut(whole.teacher_logprobs, &part.teacher_logprobs, 4);
    cut(whole.teacher_tail_logprobs, &part.teacher_tail_logprobs, 1);
    part.document_starts = {0, 24};
    return part;
  };
  const double inverse = 1 / ValidTokens(whole);
  const LossOptions options = {.balance_weight = 1e-3f};
  Gradients together(model.layout()), apart(model.layout());
  const BatchResult all = model.AccumulateGradients(parameters, whole, options, inverse, &together);
  const BatchResult a = model.AccumulateGradients(parameters, half(0), options, inverse, &apart);
  const BatchResult b = model.AccumulateGradients(parameters, half(24), options, inverse, &apart);
  EXPECT_NEAR(all.loss, a.loss + b.loss, 1e-12);
  for (std::size_t i = 0; i < together.storage().size(); ++i) {
    ASSERT_NEAR(together.storage()[i], apart.storage()[i], 2e-6) << i;
  }
}

TEST(ModelTest, BatchWithoutLossAddsNothing) {
  const ModelConfig config = UnitConfig();
  ThreadPool pool(2);
  Model model(config, pool);
  const ParameterSet parameters = LivelyParameters(model.layout());
  PackedBatch batch = RandomBatch(config, {10}, 3, 9);
  batch.weights.assign(10, 0.0f);
  Gradients gradients(model.layout());
  const BatchResult result = model.AccumulateGradients(parameters, batch, {}, 0.125, &gradients);
  EXPECT_EQ(result.loss, 0);
  EXPECT_EQ(result.valid_tokens, 0);
  for (const float value : gradients.storage()) ASSERT_EQ(value, 0);
}

TEST(ModelTest, EvaluateSeesWhatTrainingSees) {
  const ModelConfig config = UnitConfig();
  ThreadPool pool(2);
  Model model(config, pool);
  const ParameterSet parameters = LivelyParameters(model.layout());
  const PackedBatch batch = RandomBatch(config, {50, 3, 21}, 4, 10);
  Gradients gradients(model.layout());
  const BatchResult trained = model.AccumulateGradients(parameters, batch, {}, 1.0, &gradients);
  std::vector<std::int64_t> loads;
  const auto tokens = model.Evaluate(parameters, batch, &loads);
  double ce = 0, kl = 0;
  for (const TokenEvaluation& token : tokens) {
    ce += token.cross_entropy;
    kl += token.divergence;
  }
  EXPECT_NEAR(ce, trained.ce_sum, 1e-4);
  EXPECT_NEAR(kl, trained.kl_sum, 1e-4);
  EXPECT_EQ(loads, trained.expert_counts);
  const std::vector<std::int32_t> row = {30};
  const std::vector<float> logits =
      model.ForwardLogits(parameters, std::span<const std::int32_t>(batch.tokens).first(50), row);
  EXPECT_EQ(tokens[30].argmax, std::max_element(logits.begin(), logits.end()) - logits.begin());
}

TEST(ModelTest, TrainingLearnsATask) {
  // The next token is a function of the current one; a few dozen steps suffice to learn it by heart.
  const ModelConfig config = UnitConfig();
  ThreadPool pool(2);
  Model model(config, pool);
  ParameterSet parameters(model.layout());
  InitializeParameters(3, &parameters);
  AdamW optimizer(model.layout(), {}, pool);
  PackedBatch batch = RandomBatch(config, {64, 64}, 0, 12);
  for (std::size_t t = 0; t < batch.tokens.size(); ++t) {
    batch.tokens[t] %= 32;
    batch.targets[t] = (batch.tokens[t] * 7 + 3) % 32;
  }
  const double inverse = 1 / ValidTokens(batch);
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    Gradients gradients(model.layout());
    const BatchResult result = model.AccumulateGradients(parameters, batch, {}, inverse, &gradients);
    (step == 0 ? first : last) = result.loss;
    optimizer.Step(&parameters, gradients, 5e-3);
    UpdateExpertBias(result.expert_counts, 1e-3, &parameters);
  }
  EXPECT_NEAR(first, std::log(512.0), 0.3);
  EXPECT_LT(last, 0.2);
}

}  // namespace
}  // namespace retort::student
