#include "student/tokenizer/tokenizer.h"

namespace retort::student {
namespace {

// Values of tokenizer.ggml.token_type that we meet.
constexpr int64_t kControl = 3;
constexpr int64_t kUserDefined = 4;

absl::Status ReadId(const GgufFile& file, const char* key, size_t vocabulary, std::optional<int32_t>& id) {
  if (!file.Has(key)) return absl::OkStatus();
  auto value = file.GetUint(key);
  if (!value.ok()) return value.status();
  if (*value >= vocabulary) {
    return absl::InvalidArgumentError("GGUF metadata '" + std::string(key) + "' is " +
                                      std::to_string(*value) + "; wanted below the vocabulary size " +
                                      std::to_string(vocabulary));
  }
  id = static_cast<int32_t>(*value);
  return absl::OkStatus();
}

// The library adds BOS when the file says so; no model here does, and silently leaving it out would change
// its answers.
absl::Status RefuseAddedTokens(const GgufFile& file) {
  for (const char* key :
       {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_space_prefix"}) {
    if (!file.Has(key)) continue;
    auto value = file.GetBool(key);
    if (!value.ok()) return value.status();
    if (*value)
      return absl::UnimplementedError("GGUF metadata '" + std::string(key) + "' is true; wanted false");
  }
  return absl::OkStatus();
}

absl::Status ReadKind(const GgufFile& file, TokenizerParts& parts) {
  auto model = file.GetString("tokenizer.ggml.model");
  if (!model.ok()) return model.status();
  if (*model != "gpt2") {
    return absl::UnimplementedError("GGUF metadata 'tokenizer.ggml.model' is '" +
                                    std::string(model->substr(0, 32)) + "'; wanted 'gpt2'");
  }
  auto pre = file.GetString("tokenizer.ggml.pre");
  if (!pre.ok()) return pre.status();
  const std::optional<PreTokenizer> known = FindPreTokenizer(*pre);
  if (!known.has_value()) {
    return absl::UnimplementedError("GGUF metadata 'tokenizer.ggml.pre' is '" +
                                    std::string(pre->substr(0, 32)) + "'; wanted 'smollm' or 'gpt-2'");
  }
  parts.pre_tokenizer = *known;
  return RefuseAddedTokens(file);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufFile& file) {
  TokenizerParts parts;
  if (auto s = ReadKind(file, parts); !s.ok()) return s;
  auto tokens = file.GetStrings("tokenizer.ggml.tokens");
  if (!tokens.ok()) return tokens.status();
  auto types = file.GetInts("tokenizer.ggml.token_type");
  if (!types.ok()) return types.status();
  auto merges = file.GetStrings("tokenizer.ggml.merges");
  if (!merges.ok()) return merges.status();
  parts.tokens.assign(tokens->begin(), tokens->end());
  parts.merges.assign(merges->begin(), merges->end());
  for (const int64_t type : *types) parts.special.push_back(type == kControl || type == kUserDefined);
  const std::pair<const char*, std::optional<int32_t>*> ids[] = {
      {"tokenizer.ggml.bos_token_id", &parts.bos},
      {"tokenizer.ggml.eos_token_id", &parts.eos},
      {"tokenizer.ggml.unknown_token_id", &parts.unknown},
      {"tokenizer.ggml.padding_token_id", &parts.padding}};
  for (const auto& [key, id] : ids) {
    if (auto s = ReadId(file, key, parts.tokens.size(), *id); !s.ok()) return s;
  }
  if (file.Has("tokenizer.chat_template")) {
    auto chat_template = file.GetString("tokenizer.chat_template");
    if (!chat_template.ok()) return chat_template.status();
    parts.chat_template = std::string(*chat_template);
  }
  return FromParts(std::move(parts));
}

}  // namespace retort::student
