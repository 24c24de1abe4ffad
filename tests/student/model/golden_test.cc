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
#include "tests/student/model/golden_student.h"

namespace retort::student {
namespace {

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
