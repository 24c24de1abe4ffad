#include "student/parallel/shard_plan.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace retort::student {
namespace {

constexpr std::int64_t kGrain = 16;  // floats: one cache line; every tensor begins at a multiple

// Where a tensor belongs.
struct Home {
  int layer = 0;
  int expert = -1;  // routed experts only
  bool operator==(const Home&) const = default;
};

int NumberAfter(std::string_view name, std::string_view prefix) {
  const std::size_t at = name.find(prefix);
  if (at == std::string_view::npos) return -1;
  int number = -1;
  std::from_chars(name.data() + at + prefix.size(), name.data() + name.size(), number);
  return number;
}

Home HomeOf(const ParameterInfo& tensor, const ModelConfig& config) {
  if (tensor.kind == ParameterKind::kEmbedding) return {-1, -1};
  const int layer = NumberAfter(tensor.name, "model.layers.");
  if (layer < 0) return {config.layers, -1};
  // Modules of multi-token prediction are behind the final norm in the order of Pass::LayerDone.
  const int stage = layer < config.layers ? layer : layer + 1;
  return {stage, NumberAfter(tensor.name, ".mlp.experts.")};
}

std::vector<Part> Cut(const Part& storage, int ranks) {
  std::vector<Part> parts;
  const std::int64_t grains = storage.size() / kGrain;
  for (int r = 0; r < ranks; ++r) {
    parts.push_back(
        {storage.begin + grains * r / ranks * kGrain, storage.begin + grains * (r + 1) / ranks * kGrain});
  }
  parts.back().end = storage.end;
  return parts;
}

}  // namespace

std::shared_ptr<const ParameterLayout> LayoutOfRank(std::shared_ptr<const ParameterLayout> whole,
                                                    const RankPlace& place) {
  if (place.layout.experts == 1) return whole;
  return ParameterLayout::CreatePart(whole->config(), ExpertsOfRank(place, whole->config().experts));
}

ShardPlan ShardPlan::Make(const ParameterLayout& layout, const RankPlace& place) {
  const bool split = place.layout.experts > 1;
  const ExpertShare share = ExpertsOfRank(place, layout.config().experts);
  ShardPlan plan;
  const auto tensors = layout.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    Home home = HomeOf(tensors[i], layout.config());
    if (home.expert >= 0 && split) {
      if (home.expert < share.begin || home.expert >= share.end) continue;
    } else {
      home.expert = -1;  // like any other weight of the layer
    }
    const std::int64_t end = i + 1 < tensors.size() ? tensors[i + 1].offset : layout.storage_size();
    const Part storage = {tensors[i].offset, end};
    const bool routed = home.expert >= 0;
    if (!plan.buckets.empty() && plan.buckets.back().layer == home.layer &&
        plan.buckets.back().routed == routed && plan.buckets.back().storage.end == storage.begin) {
      plan.buckets.back().storage.end = storage.end;
    } else {
      plan.buckets.push_back({home.layer, routed, storage, {}});
    }
  }
  std::stable_sort(plan.buckets.begin(), plan.buckets.end(),
                   [](const Bucket& a, const Bucket& b) { return a.layer > b.layer; });
  for (Bucket& bucket : plan.buckets) {
    bucket.parts = Cut(bucket.storage, bucket.routed ? place.layout.data : place.layout.world());
    plan.own.push_back(
        bucket.parts[static_cast<std::size_t>(bucket.routed ? place.data_rank() : place.rank)]);
    plan.own_floats += plan.own.back().size();
    if (bucket.routed) plan.experts.push_back(bucket.storage);
  }
  return plan;
}

}  // namespace retort::student
