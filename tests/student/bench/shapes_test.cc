#include "student/bench/shapes.h"

#include <gtest/gtest.h>

#include "student/bench/bench_batch.h"
#include "student/model/pass.h"

namespace retort::student {
namespace {

TEST(ShapesTest, LargeIsAShapeThatCanBeTrained) {
  EXPECT_EQ(Validate(LargeConfig()), "");
}

TEST(ShapesTest, LargeHasTheParametersThatItsHeaderStates) {
  const ParameterCounts counts = CountParameters(LargeConfig());
  EXPECT_NEAR(static_cast<double>(counts.active) / 1e9, 1.3, 0.05);
  EXPECT_NEAR(static_cast<double>(counts.total) / 1e9, 2.6, 0.05);
}

// As many tokens as docs/gpu.md proposes, on a device of 80 GB, whose driver keeps about a gigabyte.
TEST(ShapesTest, LargeFitsADeviceOfEightyGigabytes) {
  const ModelConfig config = LargeConfig();
  const auto layout = ParameterLayout::Create(config);
  constexpr std::int64_t kTokens = 16384;
  const PassSizes sizes = {.limits = {.positions = kTokens,
                                      .rows = kTokens,
                                      .documents = 8,
                                      .teacher_k = 32,
                                      .slots = kTokens * config.experts_per_token},
                           .key_rows = kTokens,
                           .activation = Element::kBf16,
                           .recompute = true};
  const double bytes = 18.0 * static_cast<double>(layout->storage_size()) +
                       static_cast<double>(Pass::BytesNeeded(layout, sizes));
  EXPECT_LT(bytes, 75e9);
  EXPECT_GT(bytes, 46e9);  // the weights and their state alone
}

TEST(ShapesTest, UnknownNamesAreNotShapes) {
  EXPECT_EQ(ShapeNamed("nano"), NanoConfig());
  EXPECT_EQ(ShapeNamed("large"), LargeConfig());
  EXPECT_FALSE(ShapeNamed("huge"));
  EXPECT_FALSE(ShapeNamed(""));
}

TEST(BenchBatchTest, FitsTheShape) {
  for (const BatchShape& shape : {BatchShape{1, 512, 32}, BatchShape{100, 33, 8}, BatchShape{64, 64, 0}}) {
    const PackedBatch batch = MakeBatch(UnitConfig(), shape);
    EXPECT_EQ(ValidateBatch(UnitConfig(), batch), "");
    EXPECT_EQ(batch.size(), shape.tokens);
    EXPECT_EQ(ValidTokens(batch), static_cast<double>(shape.tokens));
  }
}

}  // namespace
}  // namespace retort::student
