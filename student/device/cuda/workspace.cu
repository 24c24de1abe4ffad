#include <algorithm>

#include "student/device/cuda/workspace.h"
#include "student/ops/dispatch.h"
#include "student/ops/embedding.h"
#include "student/ops/rms_norm.h"

namespace retort::student {
namespace {

constexpr std::int64_t kFloat = sizeof(float);
// Logits of one chunk of the head, at most: 256 MB of fp32.
constexpr std::int64_t kHeadLogits = std::int64_t{1} << 26;

// The same piece of arithmetic measures and hands out; see student/model/arena.h, which this layer must not
// know.
class Pieces {
 public:
  explicit Pieces(void* base) : base_(static_cast<char*>(base)) {}
  template <typename T>
  T* Take(std::int64_t count) {
    char* const at = base_ == nullptr ? nullptr : base_ + used;
    used += (count * static_cast<std::int64_t>(sizeof(T)) + 255) / 256 * 256;
    most = std::max(most, used);
    return reinterpret_cast<T*>(at);
  }
  Values Take(Element element, std::int64_t count) { return {Take<char>(count * BytesOf(element)), element}; }
  std::int64_t used = 0, most = 0;

 private:
  char* base_;
};

}  // namespace

std::int64_t HeadChunk(int vocabulary) {
  return std::clamp<std::int64_t>(kHeadLogits / vocabulary / 128 * 128, 128, 1024);
}

std::int64_t PartsMost(const ModelConfig& config) {
  return 3 * std::int64_t{config.all_layers()} + 4;
}

std::int64_t PlanWorkspace(const ParameterLayout& layout, const PassLimits& limits, Element element,
                           const AdamWPlan& plan, void* base, Workspace* w) {
  const ModelConfig& c = layout.config();
  const RouterShape router = {c.experts,        c.experts_per_token,
                              c.expert_groups,  c.expert_groups_per_token,
                              c.routed_scaling, c.normalise_expert_weights};
  const AttentionShape attention = {c.heads, c.nope_head_dim, c.rope_head_dim, c.value_head_dim};
  const std::int64_t positions = limits.positions, slots = limits.slots;
  Pieces p(base);
  w->tile_starts = p.Take<std::int32_t>(limits.documents + 1);
  w->pointers = p.Take<const void*>(3 * std::int64_t{c.experts});
  w->leaves = p.Take<AdamWLeaf>(static_cast<std::int64_t>(plan.leaves.size()));
  w->tensor_leaves = p.Take<std::int32_t>(static_cast<std::int64_t>(plan.tensor_leaves.size()));
  const std::int64_t part_leaves = static_cast<std::int64_t>(plan.leaves.size()) + 2 * PartsMost(c);
  w->part_leaves = p.Take<AdamWLeaf>(part_leaves);
  w->part_starts = p.Take<std::int32_t>(PartsMost(c) + 1);
  w->norm_leaves = p.Take<double>(part_leaves);
  w->step = p.Take<AdamWStep>(1);
  w->loads = p.Take<std::int64_t>(std::int64_t{c.moe_layers()} * c.experts);
  const std::int64_t shared = p.used;

  const int widest = std::max({c.hidden, c.query_rank, c.kv_rank});
  const std::int64_t any = std::max<std::int64_t>(
      {static_cast<std::int64_t>(EmbedBackwardWorkspace(positions, c.vocabulary)),
       kFloat * RmsNormBackwardWorkspace(positions, widest),
       kFloat * AttentionBackwardWorkspace(attention, positions),
       static_cast<std::int64_t>(SortByExpertWorkspace(positions, c.experts_per_token, c.experts)),
       static_cast<std::int64_t>(BalanceLossWorkspace(router, positions, limits.documents))});
  w->any = p.Take<char>(any);
  p.used = shared;
  w->d_weights = p.Take<float>(slots);
  p.used = shared;
  w->experts.gathered = p.Take(element, slots * c.hidden);
  w->experts.x = w->experts.y = nullptr;
  if (element == Element::kBf16) {
    w->experts.x = p.Take<float>(slots * c.hidden);
    w->experts.y = p.Take<float>(slots * std::max(c.hidden, 2 * c.expert_width));
  }
  p.used = shared;
  const std::int64_t chunk = std::min(HeadChunk(c.vocabulary), limits.rows);
  w->head.x = p.Take(element, chunk * c.hidden);
  w->head.logits = p.Take<float>(chunk * c.vocabulary);
  w->head.d_logits =
      element == Element::kF32 ? Values(w->head.logits) : p.Take(element, chunk * c.vocabulary);
  w->head.d_rows = p.Take<float>(chunk * c.hidden);
  w->head.work = p.Take<float>(HeadLossWorkspace(chunk, limits.teacher_k));
  return p.most;
}

}  // namespace retort::student
