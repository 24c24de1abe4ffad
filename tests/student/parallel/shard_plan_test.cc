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

// In the storage of a rank the experts of others have no room; what it has is cut as in the whole.
TEST(ShardPlanTest, ARankHasRoomForItsOwnExpertsAlone) {
  ModelConfig config = UnitConfig();
  config.prediction_layers = 1;
  const auto whole = ParameterLayout::Create(config);
  std::int64_t experts = 0;
  for (std::size_t i = 0; i < whole->tensors().size(); ++i) {
    if (whole->tensors()[i].name.find(".mlp.experts.") == std::string::npos) continue;
    experts += whole->tensors()[i + 1].offset - whole->tensors()[i].offset;
  }
  for (const ParallelLayout& ranks : {ParallelLayout{2, 1}, ParallelLayout{1, 2}, ParallelLayout{2, 4},
                                      ParallelLayout{1, config.experts}}) {
    for (int rank = 0; rank < ranks.world(); ++rank) {
      const RankPlace place = {ranks, rank};
      const auto held = LayoutOfRank(whole, place);
      EXPECT_EQ(held->storage_size(), whole->storage_size() - experts + experts / ranks.experts);
      const ExpertShare share = ExpertsOfRank(place, config.experts);
      for (int e = 0; e < config.experts; ++e) {
        const std::string name = "model.layers.1.mlp.experts." + std::to_string(e) + ".up_proj.weight";
        EXPECT_EQ(held->Find(name) >= 0, share.begin <= e && e < share.end) << name;
      }
      const ShardPlan of_rank = ShardPlan::Make(*held, place), of_whole = ShardPlan::Make(*whole, place);
      ASSERT_EQ(of_rank.buckets.size(), of_whole.buckets.size());
      EXPECT_EQ(of_rank.own_floats, of_whole.own_floats);
      for (std::size_t i = 0; i < of_rank.buckets.size(); ++i) {
        const Bucket &a = of_rank.buckets[i], &b = of_whole.buckets[i];
        EXPECT_EQ(std::pair(a.layer, a.routed), std::pair(b.layer, b.routed));
        EXPECT_EQ(a.storage.size(), b.storage.size());
        for (std::size_t r = 0; r < a.parts.size(); ++r) EXPECT_EQ(a.parts[r].size(), b.parts[r].size());
        if (rank > 0 && !a.routed) {
          const ShardPlan first = ShardPlan::Make(*LayoutOfRank(whole, {ranks, 0}), {ranks, 0});
          EXPECT_EQ(a.storage, first.buckets[i].storage);  // the ranks gather into each other's places
        }
      }
    }
  }
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
