// The shape of a student: the hyper-parameters of a DeepSeek-V3-style mixture-of-experts transformer, with
// the names that Hugging Face's config.json gives them. Plain data; reading and writing config.json is
// student/export's work.
#ifndef STUDENT_MODEL_CONFIG_H_
#define STUDENT_MODEL_CONFIG_H_

#include <cstdint>
#include <string>

namespace retort::student {

// Modules of multi-token prediction, at most; DeepSeek-V3 has one.
inline constexpr int kPredictionLayersMax = 4;

struct ModelConfig {
  int vocabulary = 0;         // V    vocab_size
  int hidden = 0;             // H    hidden_size
  int layers = 0;             // L    num_hidden_layers
  int dense_layers = 0;       // L0   first_k_dense_replace: leading layers with a dense feed-forward block
  int heads = 0;              // n_h  num_attention_heads, and num_key_value_heads
  int nope_head_dim = 0;      // d_n  qk_nope_head_dim
  int rope_head_dim = 0;      // d_r  qk_rope_head_dim
  int value_head_dim = 0;     // d_v  v_head_dim
  int query_rank = 0;         // r_q  q_lora_rank; 0 = null in config.json: one full q_proj
  int kv_rank = 0;            // r_kv kv_lora_rank
  int dense_width = 0;        // I_d  intermediate_size
  int expert_width = 0;       // I_e  moe_intermediate_size
  int experts = 0;            // E    n_routed_experts
  int experts_per_token = 0;  // K    num_experts_per_tok
  int shared_experts = 0;     // S    n_shared_experts
  int expert_groups = 1;      // G    n_group
  int expert_groups_per_token = 1;       // M    topk_group
  float routed_scaling = 1.0f;           // R    routed_scaling_factor
  bool normalise_expert_weights = true;  //    norm_topk_prob
  bool tied_embeddings = true;           //      tie_word_embeddings: the head is the embedding matrix
  // D    num_nextn_predict_layers: modules of multi-token prediction (prediction_module.h). They shape
  // training alone; evaluation and decoding pass them by.
  int prediction_layers = 0;
  int context = 2048;           //      max_position_embeddings
  double rope_theta = 10000.0;  //      rope_theta
  double rms_norm_epsilon =
      1e-6;  //      rms_norm_eps; only 1e-6 is the same in every engine that reads the export
  double initializer_range = 0.02;  //      initializer_range

  int query_head_dim() const { return nope_head_dim + rope_head_dim; }  // d_q
  int all_layers() const { return layers + prediction_layers; }   // each module is one more decoder layer
  int moe_layers() const { return all_layers() - dense_layers; }  // those of the modules come last
  int shared_width() const { return shared_experts * expert_width; }
  bool operator==(const ModelConfig&) const = default;
};

// Ready-made shapes, embeddings tied. Parameters in all / active for one token:
//   unit 0.219 M / 0.145 M (tests), nano 22.6 M / 16.7 M (demo), small 180.1 M / 59.0 M.
ModelConfig UnitConfig();
ModelConfig NanoConfig();
ModelConfig SmallConfig();

// The empty string if the shape can be trained here and its export loads in both transformers and llama.cpp;
// otherwise one sentence with the field, the value seen and the value wanted. Everything else in
// student/model has this as its precondition. Rules: docs/decisions/0002-student-core-without-dependencies.md
// and the comments of the definition.
std::string Validate(const ModelConfig& config);

struct ParameterCounts {
  std::int64_t total = 0;   // every stored number, e_score_correction_bias included
  std::int64_t active = 0;  // those one token passes through: K of E experts; a tied embedding counted once
  // Of both, those of the modules of multi-token prediction, which a released student works without.
  std::int64_t prediction_total = 0, prediction_active = 0;
};
ParameterCounts CountParameters(const ModelConfig& config);

// Multiply-add work of one trained token in floating-point operations, forward and backward: 6 per active
// matrix parameter (embedding look-up excluded, head included) plus attention over average_context earlier
// tokens. A module of multi-token prediction counts as its layer, its projection and one more head.
double TrainingFlopsPerToken(const ModelConfig& config, double average_context);

}  // namespace retort::student

#endif  // STUDENT_MODEL_CONFIG_H_
