// config.json of a DeepseekV3ForCausalLM, written and read.
#ifndef STUDENT_EXPORT_CONFIG_JSON_H_
#define STUDENT_EXPORT_CONFIG_JSON_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "student/model/config.h"

namespace retort::student {

// Ids that config.json names.
struct SpecialTokens {
  int bos = -1, eos = -1, padding = -1;  // -1: null in config.json
};

// The bytes of config.json and of generation_config.json.
std::string ConfigJson(const ModelConfig& config, const SpecialTokens& special);
std::string GenerationConfigJson(const SpecialTokens& special);

// Reads a config.json, written by WriteStudent or by transformers. Members that change what the model
// computes are checked: InvalidArgument names the one whose value is missing, out of range or not supported
// here (a rope scaling, another activation, biases, softmax scoring). Members without effect on logits are
// ignored.
absl::StatusOr<ModelConfig> ParseConfigJson(std::string_view json);

}  // namespace retort::student

#endif  // STUDENT_EXPORT_CONFIG_JSON_H_
