#include "student/bench/shapes.h"

namespace retort::student {

ModelConfig LargeConfig() {
  return {.vocabulary = 49152,
          .hidden = 2048,
          .layers = 24,
          .dense_layers = 1,
          .heads = 16,
          .nope_head_dim = 128,
          .rope_head_dim = 64,
          .value_head_dim = 128,
          .query_rank = 768,
          .kv_rank = 512,
          .dense_width = 6144,
          .expert_width = 896,
          .experts = 16,
          .experts_per_token = 6,
          .shared_experts = 1,
          .expert_groups = 4,
          .expert_groups_per_token = 2,
          .context = 4096};
}

std::optional<ModelConfig> ShapeNamed(std::string_view name) {
  if (name == "unit") return UnitConfig();
  if (name == "nano") return NanoConfig();
  if (name == "small") return SmallConfig();
  if (name == "large") return LargeConfig();
  return std::nullopt;
}

}  // namespace retort::student
