// Multi-token prediction on the CPU: what it adds to the loss and to every gradient, and what it must leave
// alone. The same against an independent implementation: prediction_golden_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "student/device/cpu_backend.h"
#include "student/model/learner.h"
#include "student/model/model.h"
#include "tests/student/model/random_batch.h"

namespace retort::student {
namespace {

ModelConfig Predicting(int depth) {
  ModelConfig config = UnitConfig();
  config.prediction_layers = depth;
  return config;
}

ParameterSet Weights(const std::shared_ptr<const ParameterLayout>& layout) {
  ParameterSet weights(layout);
  InitializeParameters(7, &weights);
  for (float& value : weights.storage()) value *= 4;  // so that every part of the model shows in the loss
  return weights;
}

// A loss that is differentiable everywhere, of a small student: every expert takes part, so nothing is
// chosen.
ModelConfig Smooth(int depth) {
  ModelConfig config = Predicting(depth);
  config.vocabulary = 48;
  config.hidden = config.dense_width = 32;
  config.layers = 2;
  config.heads = 1;
  config.rope_head_dim = 8;
  config.experts = config.experts_per_token = 2;
  config.expert_groups = config.expert_groups_per_token = 1;
  config.tied_embeddings = depth == 1;
  return config;
}

class FiniteDifferenceTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Depths, FiniteDifferenceTest, testing::Values(1, 2));

// Central differences of the whole loss, tensor by tensor, half along the gradient and half along a random
// direction. Two widths of step cancel the error in its square (Richardson).
TEST_P(FiniteDifferenceTest, TheGradientIsTheSlopeOfTheLoss) {
  const ModelConfig config = Smooth(GetParam());
  ASSERT_EQ(Validate(config), "");
  ThreadPool pool(1);
  Model model(config, pool);
  ParameterSet weights = Weights(model.layout());
  const PackedBatch batch = RandomBatch(config, {10, 1, 2, 7}, 5, 4);
  const double inverse = 1 / ValidTokens(batch);
  const LossOptions options = {.ce_weight = 0.4f, .balance_weight = 1e-2f, .prediction_weight = 0.7f};
  Gradients gradients(model.layout()), unused(model.layout());
  model.AccumulateGradients(weights, batch, options, inverse, &gradients);
  const auto length = [](const auto& values) {
    double sum = 0;
    for (const auto value : values) sum += double{value} * value;
    return std::sqrt(sum);
  };
  std::mt19937 random(3);
  double worst = 0;
  for (std::size_t i = 0; i < model.layout()->tensors().size(); ++i) {
    const ParameterInfo& info = model.layout()->tensors()[i];
    if (!info.trained()) continue;
    const std::span<float> values = weights.tensor(static_cast<int>(i));
    const std::span<const float> gradient = gradients.tensor(static_cast<int>(i));
    const std::vector<float> before(values.begin(), values.end());
    const double norm = length(gradient);
    ASSERT_GT(norm, 0) << info.name;
    std::vector<double> direction(values.size());
    for (double& part : direction) part = std::normal_distribution<double>()(random);
    const double noise = length(direction);
    double slope = 0;
    for (std::size_t j = 0; j < direction.size(); ++j) {
      direction[j] = (direction[j] / noise + gradient[j] / norm) / 2;
      slope += direction[j] * gradient[j];
    }
    const double straight = length(direction) * length(direction);
    const auto difference = [&](double width) {
      double sides[2], moved = 0;
      for (int side = 0; side < 2; ++side) {
        for (std::size_t j = 0; j < values.size(); ++j) {
          values[j] = static_cast<float>(before[j] + (side == 0 ? width : -width) * direction[j]);
          // What was moved in fact, after rounding.
          moved += (side == 0 ? 1 : -1) * (double{values[j]} - before[j]) * direction[j] / straight;
        }
        sides[side] = model.AccumulateGradients(weights, batch, options, inverse, &unused).loss;
      }
      return (sides[0] - sides[1]) / moved;
    };
    const double width = 0.004 * length(before);
    const double measured = (4 * difference(width / 2) - difference(width)) / 3;
    std::copy(before.begin(), before.end(), values.begin());
    // Logits of size ten are rounded to 2^-24 of that, in a few stages; the rest is the fourth power of the
    // width.
    const double bound = 5e-6 / width + 1e-3 * norm;
    EXPECT_LE(std::abs(measured - slope), bound)
        << info.name << ": measured " << measured << ", gradient " << slope;
    worst = std::max(worst, std::abs(measured - slope) / bound);
  }
  std::printf("depth %d: worst difference %.2g of the bound\n", GetParam(), worst);
}

// L = sum of all parts over the step's valid tokens, by hand from what is reported.
TEST(PredictionTest, TheLossIsItsParts) {
  const ModelConfig config = Predicting(2);
  ThreadPool pool(2);
  Model model(config, pool);
  const ParameterSet weights = Weights(model.layout());
  const PackedBatch batch = RandomBatch(config, {12, 3, 20}, 4, 2);
  Gradients gradients(model.layout());
  const LossOptions options = {.ce_weight = 0.4f, .prediction_weight = 0.3f};
  const BatchResult result = model.AccumulateGradients(weights, batch, options, 1.0 / 8, &gradients);
  EXPECT_NEAR(result.loss, result.mixed_sum / 8 + 0.3f / 2 / 8 * result.prediction_ce_sum, 1e-12);
  EXPECT_EQ(result.prediction_tokens,
            ValidTokens(ShiftedBatch(batch, 1)) + ValidTokens(ShiftedBatch(batch, 2)));
  EXPECT_GT(result.prediction_ce_sum, result.prediction_tokens);  // it knows nothing yet
}

// With a weight of 0 the student learns what it would learn without modules, bit for bit; and nothing outside
// training sees them.
TEST(PredictionTest, ModulesAddTheirLossAndNothingElse) {
  ThreadPool pool(2);
  Model with(Predicting(2), pool), without(Predicting(0), pool);
  const ParameterSet weights = Weights(with.layout());
  ParameterSet stack(without.layout());
  const auto each = [&](const auto& body) {
    for (std::size_t i = 0; i < without.layout()->tensors().size(); ++i) {
      const int index = static_cast<int>(i);
      body(index, with.layout()->Find(without.layout()->tensors()[i].name));
    }
  };
  each([&](int to, int from) {
    std::copy(weights.tensor(from).begin(), weights.tensor(from).end(), stack.tensor(to).begin());
  });
  const PackedBatch batch = RandomBatch(without.config(), {30, 1, 12}, 4, 6);
  Gradients one(with.layout()), other(without.layout());
  const LossOptions options = {.ce_weight = 0.4f, .prediction_weight = 0};
  const BatchResult a = with.AccumulateGradients(weights, batch, options, 0.05, &one);
  const BatchResult b = without.AccumulateGradients(stack, batch, options, 0.05, &other);
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.mixed_sum, b.mixed_sum);
  EXPECT_EQ(b.prediction_tokens, 0);
  each([&](int to, int from) {
    EXPECT_TRUE(std::equal(one.tensor(from).begin(), one.tensor(from).end(), other.tensor(to).begin()))
        << without.layout()->tensors()[to].name;
  });
  std::vector<std::int64_t> loads;
  const auto seen = with.Evaluate(weights, batch, &loads), wanted = without.Evaluate(stack, batch);
  for (std::size_t t = 0; t < seen.size(); ++t) EXPECT_EQ(seen[t].cross_entropy, wanted[t].cross_entropy);
  // The stack's two routed layers were measured, the modules' were not.
  ASSERT_EQ(loads.size(), 4u * 8);
  EXPECT_EQ(loads[15], a.expert_counts[15]);
  EXPECT_EQ(std::vector<std::int64_t>(loads.begin() + 16, loads.end()), std::vector<std::int64_t>(16, 0));
  EXPECT_EQ(std::accumulate(a.expert_counts.begin() + 24, a.expert_counts.end(), std::int64_t{0}),
            batch.size() * 2);
}

// What a document learns does not depend on the documents beside it.
TEST(PredictionTest, DocumentsDoNotSeeEachOther) {
  const ModelConfig config = Predicting(2);
  ThreadPool pool(1);
  Model model(config, pool);
  const ParameterSet weights = Weights(model.layout());
  const auto of = [&](const std::vector<int>& lengths, int change) {
    PackedBatch batch = RandomBatch(config, lengths, 0, 5);
    for (std::int64_t t = 14; t < batch.size(); ++t) batch.weights[t] = 0;  // the first document alone learns
    if (change >= 0) batch.tokens[change] = (batch.tokens[change] + 1) % config.vocabulary;
    Gradients unused(model.layout());
    return model.AccumulateGradients(weights, batch, {}, 1, &unused).prediction_ce_sum;
  };
  const double alone = of({14}, -1);
  EXPECT_EQ(of({14, 9}, -1), alone);
  EXPECT_EQ(of({14, 9}, 14), alone);  // the token after the end
  EXPECT_NE(of({14, 9}, 12), alone);
}

// Position i learns token i + 2 from token i + 1; later ones it must not see.
TEST(PredictionTest, NobodySeesWhatItPredicts) {
  const ModelConfig config = Predicting(1);
  ThreadPool pool(1);
  Model model(config, pool);
  const ParameterSet weights = Weights(model.layout());
  const auto of = [&](int change) {
    PackedBatch batch = RandomBatch(config, {20}, 0, 5);
    std::fill(batch.weights.begin(), batch.weights.end(), 0.0f);
    batch.weights[11] = 1;  // the target of position 11, learnt by the module at position 10
    batch.tokens[change] = (batch.tokens[change] + 1) % config.vocabulary;
    Gradients unused(model.layout());
    return model.AccumulateGradients(weights, batch, {}, 1, &unused).prediction_ce_sum;
  };
  const double unseen = of(19);
  for (const int later : {12, 13, 18}) EXPECT_EQ(of(later), unseen) << later;
  for (const int seen : {3, 10, 11}) EXPECT_NE(of(seen), unseen) << seen;
}

TEST(PredictionTest, DocumentsThatAreTooShortTeachNothing) {
  const ModelConfig config = Predicting(2);
  ThreadPool pool(1);
  Model model(config, pool);
  const ParameterSet weights = Weights(model.layout());
  PackedBatch batch = RandomBatch(config, {1, 1, 1}, 0, 5);
  batch.weights.assign(3, 1.0f);
  Gradients gradients(model.layout());
  const BatchResult result = model.AccumulateGradients(weights, batch, {}, 1.0 / 3, &gradients);
  EXPECT_EQ(result.prediction_tokens, 0);
  EXPECT_EQ(result.prediction_ce_sum, 0);
  EXPECT_GT(result.ce_sum, 0);
  for (const char* name : {"model.layers.3.eh_proj.weight", "model.layers.4.self_attn.o_proj.weight"}) {
    for (const float g : gradients.tensor(model.layout()->Find(name))) ASSERT_EQ(g, 0) << name;
  }
}

// The modules learn: the token after the next is a function of the next one.
TEST(PredictionTest, LearnsATaskWithTheSameBitsWhenActivationsAreRecomputed) {
  const ModelConfig config = Predicting(2);
  const auto layout = ParameterLayout::Create(config);
  PackedBatch batch = RandomBatch(config, {40, 40}, 0, 12);
  for (std::size_t t = 0; t < batch.tokens.size(); ++t) {
    const bool first = batch.positions[t] == 0;
    batch.tokens[t] = first ? batch.tokens[t] % 32 : (batch.tokens[t - 1] * 7 + 3) % 32;
    batch.targets[t] = (batch.tokens[t] * 7 + 3) % 32;
  }
  std::vector<double> losses[2];
  for (const bool recompute : {false, true}) {
    ThreadPool pool(2);
    const auto backend = MakeCpuBackend(pool);
    Learner learner(layout, {}, *backend, nullptr);
    ASSERT_TRUE(
        learner.Reserve({.limits = {.positions = 80, .rows = 80, .documents = 2}, .recompute = recompute}));
    TrainingState start{ParameterSet(layout), ParameterSet(layout), ParameterSet(layout), 0};
    InitializeParameters(3, &start.weights);
    ASSERT_TRUE(learner.Load(&start));
    for (int step = 0; step < 40; ++step) {
      const LearnedStep learned =
          learner.Step(std::span(&batch, 1), {{.prediction_weight = 0.3f}, 5e-3, 1e-3});
      ASSERT_TRUE(learned.ok);
      losses[recompute].push_back(learned.prediction_ce_sum / learned.prediction_tokens);
      losses[recompute].push_back(learned.mixed_sum);
      losses[recompute].push_back(learned.gradient_norm);
    }
  }
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_NEAR(losses[0][0], std::log(512.0), 0.3);
  EXPECT_LT(losses[0][losses[0].size() - 3], 1.0);
}

}  // namespace
}  // namespace retort::student
