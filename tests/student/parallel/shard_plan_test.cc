#include "student/parallel/shard_plan.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace retort::student {
namespace {

// How many ranks step each float of the storage.
std::vector<int> Owners(const ParameterLayout& layout, const ParallelLayout& ranks) {
  std::vector<int> owners(static_cast<std::size_t>(layout.storage_size()), 0);
  for (int rank = 0; rank < ranks.world(); ++rank) {
    for (const Part& part : ShardPlan::Make(layout, {ranks, rank}).own) {
      for (std::int64_t i = part.begin; i < part.end; ++i) ++owners[static_cast<std::size_t>(i)];
    }
  }
  return owners;
}

TEST(ShardPlanTest, EveryValueHasOneOwner) {
  const auto layout = ParameterLayout::Create(UnitConfig());
  for (const ParallelLayout& ranks :
       {ParallelLayout{1, 1}, ParallelLayout{2, 1}, ParallelLayout{1, 2}, ParallelLayout{2, 2},
        ParallelLayout{4, 1}, ParallelLayout{1, 4}, ParallelLayout{3, 2}, ParallelLayout{2, 8}}) {
    for (const int owners : Owners(*layout, ranks))
      ASSERT_EQ(owners, 1) << ranks.data << " x " << ranks.experts;
  }
}

TEST(ShardPlanTest, BucketsComeAsABackwardPassFinishesThem) {
  const auto layout = ParameterLayout::Create(UnitConfig());
  const ShardPlan plan = ShardPlan::Make(*layout, {{2, 2}, 3});
  ASSERT_FALSE(plan.buckets.empty());
  EXPECT_EQ(plan.buckets.front().layer, UnitConfig().layers);  // the final norm
  EXPECT_EQ(plan.buckets.back().layer, -1);                    // the embedding
  for (std::size_t i = 1; i < plan.buckets.size(); ++i) {
    EXPECT_LE(plan.buckets[i].layer, plan.buckets[i - 1].layer);
  }
}

// Modules of multi-token prediction first: their heads add to the gradient of an untied one.
TEST(ShardPlanTest, PredictionModulesAreFinishedBeforeTheHead) {
  ModelConfig config = UnitConfig();
  config.prediction_layers = 2;
  config.tied_embeddings = false;
  const auto layout = ParameterLayout::Create(config);
  for (const int owners : Owners(*layout, {2, 2})) ASSERT_EQ(owners, 1);
  const ShardPlan plan = ShardPlan::Make(*layout, {{2, 2}, 3});
  std::vector<int> order;
  for (const Bucket& bucket : plan.buckets) {
    if (order.empty() || order.back() != bucket.layer) order.push_back(bucket.layer);
  }
  EXPECT_EQ(order, (std::vector<int>{5, 4, 3, 2, 1, 0, -1}));
  const std::int64_t head = layout->tensors()[layout->Find("lm_head.weight")].offset;
  const std::int64_t module = layout->tensors()[layout->Find("model.layers.3.enorm.weight")].offset;
  for (const Bucket& bucket : plan.buckets) {
    if (bucket.layer == 3) {
      EXPECT_TRUE(bucket.storage.begin <= head && head < bucket.storage.end);
    }
    EXPECT_EQ(bucket.storage.begin <= module && module < bucket.storage.end,
              bucket.layer == 4 && !bucket.routed && bucket.storage.begin == module);
  }
}

TEST(ShardPlanTest, RoutedExpertsAreReducedOverTheirDataGroup) {
  const auto layout = ParameterLayout::Create(UnitConfig());
  const ShardPlan plan = ShardPlan::Make(*layout, {{2, 2}, 3});
  int routed = 0;
  for (const Bucket& bucket : plan.buckets) {
    EXPECT_EQ(bucket.parts.size(), bucket.routed ? 2u : 4u);
    if (!bucket.routed) continue;
    ++routed;
    // Rank 3 owns experts 4 to 7 of 8.
    const std::string layer = "model.layers." + std::to_string(bucket.layer) + ".mlp.experts.";
    const auto tensors = layout->tensors();
    EXPECT_EQ(bucket.storage.begin, tensors[layout->Find(layer + "4.gate_proj.weight")].offset);
    const ParameterInfo& last = tensors[layout->Find(layer + "7.down_proj.weight")];
    EXPECT_EQ(bucket.storage.end, last.offset + last.size);
  }
  EXPECT_EQ(routed, UnitConfig().moe_layers());
  EXPECT_EQ(plan.experts.size(), static_cast<std::size_t>(routed));
}

TEST(ShardPlanTest, PartsAreEven) {
  const auto layout = ParameterLayout::Create(NanoConfig());
  for (const ParallelLayout& ranks : {ParallelLayout{4, 1}, ParallelLayout{2, 2}, ParallelLayout{1, 4}}) {
    for (int rank = 0; rank < 4; ++rank) {
      const double share = static_cast<double>(ShardPlan::Make(*layout, {ranks, rank}).own_floats) * 4 /
                           static_cast<double>(layout->storage_size());
      EXPECT_NEAR(share, 1.0, 0.001) << ranks.data << " x " << ranks.experts << " rank " << rank;
    }
  }
}

}  // namespace
}  // namespace retort::student
