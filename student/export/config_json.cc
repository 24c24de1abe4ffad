#include "student/export/config_json.h"

#include <array>
#include <nlohmann/json.hpp>

#include "student/formats/message.h"
#include "student/formats/strict_json.h"

namespace retort::student {
namespace {

constexpr char kArchitecture[] = "DeepseekV3ForCausalLM";
constexpr char kModelType[] = "deepseek_v3";
constexpr int64_t kExpertMatricesMax = 1 << 20;  // of one model; keeps the list of tensors in bounds

struct IntegerField {
  const char* name;
  int ModelConfig::*member;
  int64_t low, high;
};
// The bounds keep every product below 2^63; Validate has the rules between fields.
constexpr std::array<IntegerField, 17> kIntegers = {{
    {"vocab_size", &ModelConfig::vocabulary, 1, 1 << 20},
    {"hidden_size", &ModelConfig::hidden, 1, 1 << 16},
    {"num_hidden_layers", &ModelConfig::layers, 1, 1024},
    {"first_k_dense_replace", &ModelConfig::dense_layers, 0, 1024},
    {"num_attention_heads", &ModelConfig::heads, 1, 1024},
    {"qk_nope_head_dim", &ModelConfig::nope_head_dim, 1, 1 << 12},
    {"qk_rope_head_dim", &ModelConfig::rope_head_dim, 1, 1 << 12},
    {"v_head_dim", &ModelConfig::value_head_dim, 1, 1 << 12},
    {"kv_lora_rank", &ModelConfig::kv_rank, 1, 1 << 16},
    {"intermediate_size", &ModelConfig::dense_width, 1, 1 << 20},
    {"moe_intermediate_size", &ModelConfig::expert_width, 1, 1 << 20},
    {"n_routed_experts", &ModelConfig::experts, 1, 4096},
    {"num_experts_per_tok", &ModelConfig::experts_per_token, 1, 4096},
    {"n_shared_experts", &ModelConfig::shared_experts, 0, 64},
    {"n_group", &ModelConfig::expert_groups, 1, 4096},
    {"topk_group", &ModelConfig::expert_groups_per_token, 1, 4096},
    {"max_position_embeddings", &ModelConfig::context, 1, 1 << 20},
}};

absl::Status Refuse(std::string_view field, std::string_view seen, std::string_view wanted) {
  return absl::InvalidArgumentError(Message("config.json: ", field, ": ", seen, "; wanted ", wanted));
}

// A member that must have one value where it is present; where it is absent that value is what readers
// assume.
absl::Status RequireIfPresent(const nlohmann::json& json, const char* name, const nlohmann::json& wanted) {
  const auto found = json.find(name);
  if (found == json.end() || *found == wanted) return absl::OkStatus();
  return Refuse(name, JsonExcerpt(*found), JsonExcerpt(wanted));
}

nlohmann::json IdOrNull(int id) {
  return id < 0 ? nlohmann::json() : nlohmann::json(id);
}

absl::Status ReadRope(const nlohmann::json& json, ModelConfig& config) {
  const nlohmann::json* holder = &json;
  if (const auto nested = json.find("rope_parameters"); nested != json.end() && !nested->is_null()) {
    if (!nested->is_object()) return Refuse("rope_parameters", JsonExcerpt(*nested), "an object");
    if (auto s = RequireIfPresent(*nested, "rope_type", "default"); !s.ok()) return s;
    if (nested->contains("rope_theta")) holder = &*nested;
  }
  if (auto s = RequireIfPresent(json, "rope_scaling", nullptr); !s.ok()) return s;
  if (auto s = RequireIfPresent(json, "rope_interleave", true); !s.ok()) return s;
  const auto theta = JsonNumber(*holder, "rope_theta", 1, 1e12);
  if (!theta.ok()) return absl::InvalidArgumentError(Message("config.json: ", theta.status().message()));
  config.rope_theta = *theta;
  return absl::OkStatus();
}

}  // namespace

std::string ConfigJson(const ModelConfig& config, const SpecialTokens& special) {
  nlohmann::json json = {
      {"architectures", {kArchitecture}},
      {"model_type", kModelType},
      {"num_key_value_heads", config.heads},
      {"q_lora_rank", config.query_rank > 0 ? nlohmann::json(config.query_rank) : nlohmann::json()},
      {"routed_scaling_factor", config.routed_scaling},
      {"norm_topk_prob", config.normalise_expert_weights},
      {"scoring_func", "sigmoid"},
      {"topk_method", "noaux_tc"},
      {"moe_layer_freq", 1},
      {"num_nextn_predict_layers", config.prediction_layers},
      {"hidden_act", "silu"},
      {"initializer_range", config.initializer_range},
      {"rms_norm_eps", config.rms_norm_epsilon},
      {"use_cache", true},
      {"bos_token_id", IdOrNull(special.bos)},
      {"eos_token_id", IdOrNull(special.eos)},
      {"pad_token_id", IdOrNull(special.padding)},
      {"tie_word_embeddings", config.tied_embeddings},
      {"rope_theta", config.rope_theta},
      {"rope_scaling", nullptr},
      {"rope_interleave", true},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"torch_dtype", "float32"}};
  for (const IntegerField& field : kIntegers) {
    json[field.name] = config.*field.member;
  }
  return json.dump(2) + "\n";
}

std::string GenerationConfigJson(const SpecialTokens& special) {
  const nlohmann::json json = {{"bos_token_id", IdOrNull(special.bos)},
                               {"eos_token_id", IdOrNull(special.eos)},
                               {"pad_token_id", IdOrNull(special.padding)},
                               {"do_sample", false}};
  return json.dump(2) + "\n";
}

absl::StatusOr<ModelConfig> ParseConfigJson(std::string_view text) {
  const auto parsed = ParseStrictJson(text, "config.json", {1 << 20, 8});
  if (!parsed.ok()) return parsed.status();
  const nlohmann::json& json = *parsed;
  const auto named = [](const absl::Status& status) {
    return absl::InvalidArgumentError(Message("config.json: ", status.message()));
  };
  const auto type = JsonString(json, "model_type", 64);
  if (!type.ok()) return named(type.status());
  if (*type != kModelType) return Refuse("model_type", JsonExcerpt(json["model_type"]), kModelType);

  ModelConfig config;
  for (const IntegerField& field : kIntegers) {
    const auto value = JsonInteger(json, field.name, field.low, field.high);
    if (!value.ok()) return named(value.status());
    config.*field.member = static_cast<int>(*value);
  }
  if (!json.contains("q_lora_rank")) return Refuse("q_lora_rank", "missing", "an integer or null");
  if (!json["q_lora_rank"].is_null()) {
    const auto rank = JsonInteger(json, "q_lora_rank", 1, 1 << 16);
    if (!rank.ok()) return named(rank.status());
    config.query_rank = static_cast<int>(*rank);
  }
  const auto scaling = JsonNumber(json, "routed_scaling_factor", 1e-6, 1e6);
  if (!scaling.ok()) return named(scaling.status());
  config.routed_scaling = static_cast<float>(*scaling);
  const auto epsilon = JsonNumber(json, "rms_norm_eps", 0, 1);
  if (!epsilon.ok()) return named(epsilon.status());
  config.rms_norm_epsilon = *epsilon;
  const auto normalise = JsonBool(json, "norm_topk_prob");
  if (!normalise.ok()) return named(normalise.status());
  config.normalise_expert_weights = *normalise;
  const auto tied = JsonBool(json, "tie_word_embeddings");
  if (!tied.ok()) return named(tied.status());
  config.tied_embeddings = *tied;
  if (json.contains("initializer_range")) {
    const auto range = JsonNumber(json, "initializer_range", 0, 10);
    if (!range.ok()) return named(range.status());
    config.initializer_range = *range;
  }
  if (json.contains("num_nextn_predict_layers")) {
    const auto layers = JsonInteger(json, "num_nextn_predict_layers", 0, kPredictionLayersMax);
    if (!layers.ok()) return named(layers.status());
    config.prediction_layers = static_cast<int>(*layers);
  }
  if (auto s = ReadRope(json, config); !s.ok()) return s;
  for (const auto& [name, wanted] :
       {std::pair<const char*, nlohmann::json>{"num_key_value_heads", config.heads},
        std::pair<const char*, nlohmann::json>{"hidden_act", "silu"},
        std::pair<const char*, nlohmann::json>{"attention_bias", false},
        std::pair<const char*, nlohmann::json>{"scoring_func", "sigmoid"},
        std::pair<const char*, nlohmann::json>{"topk_method", "noaux_tc"},
        std::pair<const char*, nlohmann::json>{"moe_layer_freq", 1}}) {
    if (auto s = RequireIfPresent(json, name, wanted); !s.ok()) return s;
  }
  if (int64_t{config.all_layers()} * config.experts > kExpertMatricesMax) {
    return Refuse("n_routed_experts", Message(config.experts, " in ", config.all_layers(), " layers"),
                  Message("at most ", kExpertMatricesMax, " in all"));
  }
  if (const std::string problem = Validate(config); !problem.empty())
    return absl::InvalidArgumentError(Message("config.json: ", problem));
  return config;
}

}  // namespace retort::student
