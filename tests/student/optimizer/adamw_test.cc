#include "student/optimizer/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace retort::student {
namespace {

class AdamWTest : public testing::Test {
 protected:
  AdamWTest()
      : pool_(2), layout_(ParameterLayout::Create(UnitConfig())), parameters_(layout_), gradients_(layout_) {
    InitializeParameters(1, &parameters_);
  }
  int Find(const char* name) const { return layout_->Find(name); }
  void FillGradients(unsigned seed) {
    for (std::size_t i = 0; i < layout_->tensors().size(); ++i) {
      if (!layout_->tensors()[i].trained()) continue;
      for (float& g : gradients_.tensor(static_cast<int>(i))) {
        seed = seed * 1664525 + 1013904223;
        g = (static_cast<float>(seed >> 8) / 16777216.0f - 0.5f) * 1e-3f;
      }
    }
  }

  ThreadPool pool_;
  std::shared_ptr<const ParameterLayout> layout_;
  ParameterSet parameters_;
  Gradients gradients_;
};

TEST_F(AdamWTest, FollowsTheFormulaStepByStep) {
  const int matrix = Find("model.layers.1.mlp.experts.3.up_proj.weight"), norm = Find("model.norm.weight");
  AdamW optimizer(layout_, {.clip_norm = 0}, pool_);
  double theta[2] = {parameters_.tensor(matrix)[77], parameters_.tensor(norm)[5]}, m[2] = {0, 0},
         v[2] = {0, 0};
  for (int step = 1; step <= 5; ++step) {
    FillGradients(step);
    const double g[2] = {gradients_.tensor(matrix)[77], gradients_.tensor(norm)[5]};
    optimizer.Step(&parameters_, gradients_, 1e-2);
    for (int i = 0; i < 2; ++i) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.95 * v[i] + 0.05 * g[i] * g[i];
      const double update =
          m[i] / (1 - std::pow(0.9, step)) / (std::sqrt(v[i] / (1 - std::pow(0.95, step))) + 1e-8);
      theta[i] -= 1e-2 * (update + (i == 0 ? 0.1 * theta[i] : 0.0));
    }
    EXPECT_NEAR(parameters_.tensor(matrix)[77], theta[0], 1e-7 * step);
    EXPECT_NEAR(parameters_.tensor(norm)[5], theta[1], 2e-7 * step);
  }
  EXPECT_EQ(optimizer.steps_taken(), 5);
}

TEST_F(AdamWTest, TensorWithoutGradientFadesAndDecays) {
  // An expert that no token chose: defined to be stepped like any other.
  const int expert = Find("model.layers.1.mlp.experts.0.gate_proj.weight");
  AdamW optimizer(layout_, {}, pool_);
  FillGradients(1);
  optimizer.Step(&parameters_, gradients_, 1e-3);
  const float before = parameters_.tensor(expert)[9], m = optimizer.first_moment().tensor(expert)[9],
              v = optimizer.second_moment().tensor(expert)[9];
  gradients_.SetZero();
  optimizer.Step(&parameters_, gradients_, 1e-3);
  EXPECT_FLOAT_EQ(optimizer.first_moment().tensor(expert)[9], 0.9f * m);
  EXPECT_FLOAT_EQ(optimizer.second_moment().tensor(expert)[9], 0.95f * v);
  EXPECT_NE(parameters_.tensor(expert)[9], before);
  // Without moments only the decay is left.
  AdamW fresh(layout_, {}, pool_);
  const float value = parameters_.tensor(expert)[9];
  fresh.Step(&parameters_, gradients_, 1e-3);
  EXPECT_FLOAT_EQ(parameters_.tensor(expert)[9], value - 1e-4f * value);
  EXPECT_EQ(parameters_.tensor(Find("model.norm.weight"))[0] > 0.99f, true);
}

TEST_F(AdamWTest, StateAndNormsAndEmbeddingsDoNotDecay) {
  AdamW optimizer(layout_, {.weight_decay = 0.5}, pool_);
  const int bias = Find("model.layers.1.mlp.gate.e_score_correction_bias");
  parameters_.tensor(bias)[2] = 0.75f;
  gradients_.tensor(bias)[2] = 100;  // must not even enter the norm
  const float embedding = parameters_.tensor(0)[3];
  EXPECT_EQ(optimizer.Step(&parameters_, gradients_, 0.1), 0.0);
  EXPECT_EQ(parameters_.tensor(bias)[2], 0.75f);
  EXPECT_EQ(parameters_.tensor(0)[3], embedding);
  EXPECT_EQ(parameters_.tensor(Find("model.norm.weight"))[0], 1.0f);
}

TEST_F(AdamWTest, ClipsByTheGlobalNorm) {
  gradients_.tensor(0)[0] = 30;
  gradients_.tensor(Find("model.norm.weight"))[1] = 40;
  AdamW optimizer(layout_, {.clip_norm = 1.0}, pool_);
  EXPECT_DOUBLE_EQ(optimizer.Step(&parameters_, gradients_, 1e-3), 50.0);
  EXPECT_FLOAT_EQ(optimizer.first_moment().tensor(0)[0], 0.1f * 30 / 50);
  EXPECT_FLOAT_EQ(optimizer.second_moment().tensor(Find("model.norm.weight"))[1], 0.05f * 0.64f);
}

TEST_F(AdamWTest, NormIsTheSameForAnyNumberOfThreads) {
  FillGradients(5);
  ThreadPool one(1), three(3);
  double plain = 0;
  for (const float g : gradients_.storage()) plain += static_cast<double>(g) * g;
  EXPECT_EQ(GlobalNorm(gradients_, one), GlobalNorm(gradients_, three));
  EXPECT_NEAR(GlobalNorm(gradients_, one), std::sqrt(plain), 1e-12);
}

TEST_F(AdamWTest, RefusesGradientsThatAreNotFinite) {
  AdamW optimizer(layout_, {}, pool_);
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    FillGradients(1);
    gradients_.tensor(3)[0] = bad;
    const ParameterSet before = parameters_.Clone();
    EXPECT_FALSE(std::isfinite(optimizer.Step(&parameters_, gradients_, 1e-3)));
    EXPECT_TRUE(std::equal(before.storage().begin(), before.storage().end(), parameters_.storage().begin()));
    EXPECT_EQ(optimizer.steps_taken(), 0);
  }
}

TEST_F(AdamWTest, StateRestoredContinuesBitForBit) {
  AdamW optimizer(layout_, {}, pool_);
  FillGradients(1);
  optimizer.Step(&parameters_, gradients_, 1e-3);
  AdamW restored(layout_, {}, pool_);
  restored.first_moment() = optimizer.first_moment().Clone();
  restored.second_moment() = optimizer.second_moment().Clone();
  restored.SetStepsTaken(optimizer.steps_taken());
  ParameterSet copy = parameters_.Clone();
  FillGradients(2);
  optimizer.Step(&parameters_, gradients_, 1e-3);
  restored.Step(&copy, gradients_, 1e-3);
  EXPECT_TRUE(std::equal(copy.storage().begin(), copy.storage().end(), parameters_.storage().begin()));
}

}  // namespace
}  // namespace retort::student
