#include "student/model/config.h"

#include <cmath>
#include <string>

#include "student/ops/router.h"

namespace retort::student {
namespace {

ModelConfig Shape(int vocabulary, int hidden, int layers, int heads, int nope, int rope, int value,
                  int query_rank, int kv_rank, int dense_width, int expert_width, int experts, int per_token,
                  int groups, int groups_per_token) {
  ModelConfig config;
  config.vocabulary = vocabulary;
  config.hidden = hidden;
  config.layers = layers;
  config.dense_layers = 1;
  config.heads = heads;
  config.nope_head_dim = nope;
  config.rope_head_dim = rope;
  config.value_head_dim = value;
  config.query_rank = query_rank;
  config.kv_rank = kv_rank;
  config.dense_width = dense_width;
  config.expert_width = expert_width;
  config.experts = experts;
  config.experts_per_token = per_token;
  config.shared_experts = 1;
  config.expert_groups = groups;
  config.expert_groups_per_token = groups_per_token;
  return config;
}

std::string Problem(const char* field, const std::string& seen, const std::string& wanted) {
  return std::string(field) + " is " + seen + "; wanted " + wanted;
}

std::string CheckRange(const char* field, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return {};
  return Problem(field, std::to_string(value), std::to_string(low) + " to " + std::to_string(high));
}

// Quantised tensors of GGUF hold whole blocks of 32 weights a row.
std::string CheckRow(const char* field, std::int64_t value) {
  if (value % 32 == 0) return {};
  return Problem(field, std::to_string(value), "a multiple of 32");
}

// Floats of one layer's attention: projections, their two norms and the two norms of the layer.
struct AttentionCount {
  std::int64_t matrices, norms;
};
AttentionCount CountAttention(const ModelConfig& c) {
  const std::int64_t h = c.hidden, n = c.heads, rq = c.query_rank, rkv = c.kv_rank;
  const std::int64_t query = rq > 0 ? h * rq + rq * n * c.query_head_dim() : h * n * c.query_head_dim();
  return {query + h * (rkv + c.rope_head_dim) + rkv * n * (c.nope_head_dim + c.value_head_dim) +
              n * c.value_head_dim * h,
          rq + rkv + 2 * h};
}

}  // namespace

ModelConfig UnitConfig() {
  return Shape(512, 64, 3, 2, 32, 16, 32, 32, 32, 128, 32, 8, 2, 4, 2);
}
ModelConfig NanoConfig() {
  return Shape(49152, 256, 6, 4, 32, 32, 64, 128, 64, 768, 128, 16, 4, 1, 1);
}
ModelConfig SmallConfig() {
  return Shape(49152, 512, 12, 8, 64, 32, 64, 256, 128, 1536, 256, 32, 4, 4, 2);
}

std::string Validate(const ModelConfig& c) {
  // Upper bounds keep every product of two fields within 63 bits and are well above the largest published
  // model.
  const struct {
    const char* field;
    std::int64_t value, low, high;
  } ranges[] = {
      {"vocab_size", c.vocabulary, 1, 1 << 20},
      {"hidden_size", c.hidden, 1, 1 << 15},
      {"num_hidden_layers", c.layers, 1, 1024},
      {"first_k_dense_replace", c.dense_layers, 0, c.layers},
      {"num_attention_heads", c.heads, 1, 1024},
      {"qk_nope_head_dim", c.nope_head_dim, 1, 1024},
      {"qk_rope_head_dim", c.rope_head_dim, 2, 1024},
      {"v_head_dim", c.value_head_dim, 1, 1024},
      {"q_lora_rank", c.query_rank, 0, 1 << 15},
      {"kv_lora_rank", c.kv_rank, 1, 1 << 15},
      {"intermediate_size", c.dense_width, 1, 1 << 17},
      {"moe_intermediate_size", c.expert_width, 1, 1 << 17},
      {"n_routed_experts", c.experts, 2, kExpertsMax},
      {"num_experts_per_tok", c.experts_per_token, 1, c.experts},
      {"n_shared_experts", c.shared_experts, 1, 64},
      {"n_group", c.expert_groups, 1, c.experts / 2},
      {"topk_group", c.expert_groups_per_token, 1, c.expert_groups},
      {"max_position_embeddings", c.context, 1, 1 << 20},
      {"num_nextn_predict_layers", c.prediction_layers, 0, kPredictionLayersMax},
  };
  for (const auto& range : ranges) {
    if (auto problem = CheckRange(range.field, range.value, range.low, range.high); !problem.empty())
      return problem;
  }
  const struct {
    const char* field;
    std::int64_t value;
  } rows[] = {{"hidden_size", c.hidden},
              {"intermediate_size", c.dense_width},
              {"moe_intermediate_size", c.expert_width},
              {"q_lora_rank", c.query_rank},
              {"kv_lora_rank", c.kv_rank},
              {"qk_nope_head_dim", c.nope_head_dim}};
  for (const auto& row : rows) {
    if (auto problem = CheckRow(row.field, row.value); !problem.empty()) return problem;
  }
  // attn_output's rows in the export.
  if (auto problem = CheckRow("num_attention_heads * v_head_dim", std::int64_t{c.heads} * c.value_head_dim);
      !problem.empty()) {
    return problem;
  }
  if (c.rope_head_dim % 2 != 0)
    return Problem("qk_rope_head_dim", std::to_string(c.rope_head_dim), "an even number");
  if (c.experts % c.expert_groups != 0) {
    return Problem("n_group", std::to_string(c.expert_groups),
                   "a divisor of n_routed_experts " + std::to_string(c.experts));
  }
  if (c.expert_groups > 1 && c.expert_groups_per_token >= c.expert_groups) {  // llama.cpp asserts it
    return Problem("topk_group", std::to_string(c.expert_groups_per_token),
                   "less than n_group " + std::to_string(c.expert_groups));
  }
  const int reachable = c.expert_groups_per_token * (c.experts / c.expert_groups);
  if (c.experts_per_token > reachable) {
    return Problem("num_experts_per_tok", std::to_string(c.experts_per_token),
                   "at most the " + std::to_string(reachable) + " experts of topk_group groups");
  }
  if (!(c.routed_scaling > 0) || !std::isfinite(c.routed_scaling)) {
    return Problem("routed_scaling_factor", std::to_string(c.routed_scaling), "a positive number");
  }
  if (!(c.rope_theta > 1) || !std::isfinite(c.rope_theta)) {
    return Problem("rope_theta", std::to_string(c.rope_theta), "a number above 1");
  }
  if (c.rms_norm_epsilon != 1e-6) {  // transformers builds two of the norms with 1e-6 whatever the file says
    return Problem("rms_norm_eps", std::to_string(c.rms_norm_epsilon), "1e-6");
  }
  if (!(c.initializer_range > 0) || !(c.initializer_range <= 1)) {
    return Problem("initializer_range", std::to_string(c.initializer_range), "above 0 and at most 1");
  }
  return {};
}

ParameterCounts CountParameters(const ModelConfig& c) {
  const std::int64_t h = c.hidden, expert = 3 * h * c.expert_width;
  const AttentionCount attention = CountAttention(c);
  const std::int64_t layer = attention.matrices + attention.norms;
  const std::int64_t routed = c.experts * h + c.experts + expert * (c.experts + c.shared_experts);
  const std::int64_t idle = expert * (c.experts - c.experts_per_token);  // of one routed layer
  ParameterCounts counts;
  counts.prediction_total = c.prediction_layers * (layer + routed + 2 * h * h + 3 * h);
  counts.prediction_active = counts.prediction_total - c.prediction_layers * idle;
  counts.total = (c.tied_embeddings ? 1 : 2) * c.vocabulary * h + h + counts.prediction_total;
  counts.total += c.layers * layer + c.dense_layers * 3 * h * c.dense_width;
  counts.total += (c.layers - c.dense_layers) * routed;
  counts.active = counts.total - c.moe_layers() * idle;
  return counts;
}

double TrainingFlopsPerToken(const ModelConfig& c, double average_context) {
  const double h = c.hidden;
  const double matrices =
      (1 + c.prediction_layers) * h * c.vocabulary + c.prediction_layers * 2 * h * h +
      static_cast<double>(c.all_layers()) * CountAttention(c).matrices +
      c.dense_layers * 3.0 * h * c.dense_width +
      c.moe_layers() * h * (c.experts + 3.0 * c.expert_width * (c.experts_per_token + c.shared_experts));
  return 6 * matrices +
         6.0 * c.all_layers() * c.heads * (c.query_head_dim() + c.value_head_dim) * average_context;
}

}  // namespace retort::student
