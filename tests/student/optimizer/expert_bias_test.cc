#include "student/optimizer/expert_bias.h"

#include <gtest/gtest.h>

#include <vector>

namespace retort::student {
namespace {

TEST(ExpertBiasTest, MovesAgainstTheLoad) {
  ParameterSet parameters(ParameterLayout::Create(UnitConfig()));  // layers 1 and 2 have 8 experts
  const std::vector<std::int64_t> counts = {4, 4, 4, 4, 4, 4, 4, 4, 0, 9, 4, 4, 4, 4, 4, 3};
  UpdateExpertBias(counts, 0.5, &parameters);
  const auto bias = [&](const char* name) {
    const auto values = parameters.tensor(parameters.layout().Find(name));
    return std::vector<float>(values.begin(), values.end());
  };
  EXPECT_EQ(bias("model.layers.1.mlp.gate.e_score_correction_bias"), std::vector<float>(8, 0.0f));
  EXPECT_EQ(bias("model.layers.2.mlp.gate.e_score_correction_bias"),
            (std::vector<float>{0.5, -0.5, 0, 0, 0, 0, 0, 0.5}));
}

TEST(ExpertBiasTest, ReportsTheImbalance) {
  const std::vector<std::int64_t> counts = {2, 2, 2, 2, 2, 2, 2, 2, 0, 16, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(LoadImbalance(UnitConfig(), counts), (std::vector<double>{0, 7}));
  EXPECT_EQ(LoadImbalance(UnitConfig(), std::vector<std::int64_t>(16, 0)), (std::vector<double>{0, 0}));
}

}  // namespace
}  // namespace retort::student
