// Multi-token prediction against an independent implementation in fp64, itself held against transformers
// where transformers goes: tests/student/golden/make_prediction_golden.py made the file and describes it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "student/model/model.h"
#include "tests/student/model/golden_student.h"

namespace retort::student {
namespace {

std::vector<double> PredictionGolden() {
  std::ifstream file(RETORT_SOURCE_DIR "/tests/student/golden/prediction_golden.bin", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<double> values(bytes.size() / sizeof(double));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(double));
  return values;
}

class PredictionGoldenTest : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isas, PredictionGoldenTest, testing::Values(Isa::kPlain, Isa::kAvx2, Isa::kAvx512),
                         [](const auto& info) { return std::string(IsaName(info.param)); });

TEST_P(PredictionGoldenTest, AgreesWithTheReference) {
  if (!IsaSupported(GetParam())) GTEST_SKIP() << "this processor has no " << IsaName(GetParam());
  ModelConfig config = GoldenConfig();
  config.prediction_layers = 2;
  ASSERT_EQ(Validate(config), "");
  ThreadPool pool(2);
  Model model(config, pool, GetParam());
  const ParameterSet parameters = GoldenParameters(model.layout());
  const PackedBatch batch = GoldenBatch(config);
  Gradients gradients(model.layout());
  const BatchResult result =
      model.AccumulateGradients(parameters, batch, {.ce_weight = 0.3f, .prediction_weight = 0.3f},
                                1.0 / static_cast<double>(batch.size()), &gradients);
  const std::vector<double> golden = PredictionGolden();
  ASSERT_GT(golden.size(), 3u);
  EXPECT_NEAR(result.loss, golden[0], 1e-5);
  EXPECT_EQ(result.prediction_tokens, 18 + 17 + 11 + 10);
  EXPECT_NEAR(result.prediction_ce_sum, golden[1] + golden[2], 1e-5 * result.prediction_tokens);

  std::size_t next = 3;
  double worst = 0;
  for (std::size_t i = 0; i < model.layout()->tensors().size(); ++i) {
    const ParameterInfo& info = model.layout()->tensors()[i];
    if (!info.trained()) continue;
    ASSERT_LT(next, golden.size());
    const auto gradient = gradients.tensor(static_cast<int>(i));
    const std::vector<float> direction = Uniform(info.name + ".direction", gradient.size());
    double slope = 0, size = 0;
    for (std::size_t j = 0; j < direction.size(); ++j) {
      slope += double{gradient[j]} * direction[j];
      size += std::pow(double{gradient[j]} * direction[j], 2);
    }
    // As for gradients in golden_test.cc, whose errors add up like random ones.
    const double bound = 1e-6 + 1e-4 * std::sqrt(size);
    EXPECT_LE(std::abs(slope - golden[next]), bound) << info.name << " wanted " << golden[next];
    worst = std::max(worst, std::abs(slope - golden[next]) / bound);
    ++next;
  }
  EXPECT_EQ(next, golden.size());
  std::printf("worst difference of a slope: %.2g of the bound\n", worst);
}

}  // namespace
}  // namespace retort::student
