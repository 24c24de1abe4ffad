// The Hugging Face form of the tokenizer: what WriteHuggingFace writes and FromHuggingFace reads back.
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "student/formats/atomic_file.h"
#include "student/formats/strict_json.h"
#include "student/tokenizer/tokenizer.h"

namespace retort::student {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr size_t kTemplateBytesMax = 64 << 10;

std::string Quoted(const std::string& text) {
  return Json(text).dump();
}

OrderedJson ByteLevelJson(bool add_prefix_space) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", true}};
}

OrderedJson PreTokenizerJson(PreTokenizer pre_tokenizer) {
  if (pre_tokenizer == PreTokenizer::kGpt2) return ByteLevelJson(false);
  return {{"type", "Sequence"},
          {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, ByteLevelJson(false)}}};
}

OrderedJson AddedToken(const std::string& content) {
  return {{"content", content}, {"lstrip", false},      {"normalized", false},
          {"rstrip", false},    {"single_word", false}, {"special", true}};
}

// Written piece by piece: the vocabulary keeps id order, which nlohmann's objects would not at this size.
std::string TokenizerJson(const TokenizerParts& parts) {
  std::string out =
      "{\n\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null,\n\"added_tokens\": [";
  const char* separator = "\n";
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    if (!parts.special[id]) continue;
    OrderedJson token = {{"id", id}};
    token.update(AddedToken(parts.tokens[id]));
    out += separator + token.dump();
    separator = ",\n";
  }
  out += "\n],\n\"normalizer\": null,\n\"pre_tokenizer\": " + PreTokenizerJson(parts.pre_tokenizer).dump();
  out += ",\n\"post_processor\": null,\n\"decoder\": " + ByteLevelJson(true).dump();
  out +=
      ",\n\"model\": {\n\"type\": \"BPE\",\n\"dropout\": null,\n\"unk_token\": null,\n"
      "\"continuing_subword_prefix\": null,\n\"end_of_word_suffix\": null,\n\"fuse_unk\": false,\n"
      "\"byte_fallback\": false,\n\"ignore_merges\": false,\n\"vocab\": {";
  separator = "\n";
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    out += separator + Quoted(parts.tokens[id]) + ": " + std::to_string(id);
    separator = ",\n";
  }
  out += "\n},\n\"merges\": [";
  separator = "\n";
  for (const std::string& merge : parts.merges) {
    out += separator + Quoted(merge);
    separator = ",\n";
  }
  return out + "\n]\n}\n}\n";
}

// The named special tokens, by the member that names them.
std::vector<std::pair<const char*, std::optional<int32_t>>> NamedTokens(const TokenizerParts& parts) {
  return {{"bos_token", parts.bos},
          {"eos_token", parts.eos},
          {"unk_token", parts.unknown},
          {"pad_token", parts.padding}};
}

// transformers lists as "additional" what has no name of its own; ChatML's turn marks are always among them.
OrderedJson AdditionalTokens(const TokenizerParts& parts) {
  OrderedJson names = OrderedJson::array();
  for (const char* name : {"<|im_start|>", "<|im_end|>"}) {
    for (size_t id = 0; id < parts.tokens.size(); ++id) {
      if (parts.special[id] && parts.tokens[id] == name) names.push_back(name);
    }
  }
  return names;
}

std::string TokenizerConfigJson(const TokenizerParts& parts) {
  OrderedJson added = OrderedJson::object();
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    if (parts.special[id]) added[std::to_string(id)] = AddedToken(parts.tokens[id]);
  }
  OrderedJson config = {{"add_prefix_space", false},
                        {"added_tokens_decoder", added},
                        {"additional_special_tokens", AdditionalTokens(parts)},
                        {"clean_up_tokenization_spaces", false},
                        {"tokenizer_class", "PreTrainedTokenizerFast"}};
  for (const auto& [name, id] : NamedTokens(parts)) {
    if (id.has_value()) config[name] = parts.tokens[*id];
  }
  if (!parts.chat_template.empty()) config["chat_template"] = parts.chat_template;
  return config.dump(2) + "\n";
}

std::string SpecialTokensMapJson(const TokenizerParts& parts) {
  OrderedJson map = {{"additional_special_tokens", AdditionalTokens(parts)}};
  for (const auto& [name, id] : NamedTokens(parts)) {
    if (!id.has_value()) continue;
    OrderedJson token = AddedToken(parts.tokens[*id]);
    token.erase("special");
    map[name] = token;
  }
  return map.dump(2) + "\n";
}

absl::Status RefuseFile(const std::string& what, const std::string& seen, const std::string& wanted) {
  return absl::InvalidArgumentError("tokenizer.json: " + what + " is " + seen + "; wanted " + wanted);
}

// The member `name`, which must be of kind `type`.
absl::StatusOr<const Json*> Member(const Json& object, const char* name, Json::value_t type,
                                   const std::string& wanted) {
  const auto it = object.is_object() ? object.find(name) : object.end();
  if (!object.is_object() || it == object.end()) return RefuseFile(name, "missing", wanted);
  if (it->type() != type) return RefuseFile(name, JsonExcerpt(*it), wanted);
  return &*it;
}

// Members that change the ids and that we do not compute must be off.
absl::Status RefuseUnknownFeatures(const Json& root, const Json& model) {
  for (const char* name : {"normalizer", "post_processor"}) {
    if (root.contains(name) && !root[name].is_null())
      return RefuseFile(name, JsonExcerpt(root[name]), "null");
  }
  if (!model.contains("type") || model["type"] != "BPE")
    return RefuseFile("model.type", "something else", "\"BPE\"");
  for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.contains(name) && !model[name].is_null())
      return RefuseFile(name, JsonExcerpt(model[name]), "null");
  }
  for (const char* name : {"fuse_unk", "byte_fallback", "ignore_merges"}) {
    if (model.contains(name) && model[name] != false)
      return RefuseFile(name, JsonExcerpt(model[name]), "false");
  }
  return absl::OkStatus();
}

absl::Status ReadVocabulary(const Json& model, TokenizerParts& parts) {
  auto vocab = Member(model, "vocab", Json::value_t::object, "an object of token: id");
  if (!vocab.ok()) return vocab.status();
  const size_t count = (*vocab)->size();
  if (count > Tokenizer::kMaxVocabulary) {
    return RefuseFile("vocab size", std::to_string(count),
                      "at most " + std::to_string(Tokenizer::kMaxVocabulary));
  }
  parts.tokens.resize(count);
  parts.special.assign(count, false);
  for (const auto& [token, id] : (*vocab)->items()) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= count) {
      return RefuseFile("an id of vocab", JsonExcerpt(id),
                        "an integer below the number of tokens, " + std::to_string(count));
    }
    std::string& place = parts.tokens[id.get<size_t>()];
    if (!place.empty()) return RefuseFile("id " + JsonExcerpt(id), "there twice", "each id once");
    place = token;  // an empty token stays empty and is refused by FromParts
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const Json& model, TokenizerParts& parts) {
  auto merges = Member(model, "merges", Json::value_t::array, "an array");
  if (!merges.ok()) return merges.status();
  parts.merges.reserve((*merges)->size());
  for (const Json& merge : **merges) {
    if (merge.is_string()) {
      parts.merges.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      parts.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    } else {
      return RefuseFile("merge " + std::to_string(parts.merges.size()), JsonExcerpt(merge),
                        "\"left right\" or [left, right]");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const Json& root, TokenizerParts& parts) {
  auto added = Member(root, "added_tokens", Json::value_t::array, "an array");
  if (!added.ok()) return added.status();
  for (const Json& token : **added) {
    auto id = JsonInteger(token, "id", 0, static_cast<int64_t>(parts.tokens.size()) - 1);
    if (!id.ok())
      return absl::InvalidArgumentError("tokenizer.json: added_tokens: " +
                                        std::string(id.status().message()));
    auto content = JsonString(token, "content", Tokenizer::kMaxTokenBytes);
    if (!content.ok()) {
      return absl::InvalidArgumentError("tokenizer.json: added_tokens: " +
                                        std::string(content.status().message()));
    }
    if (*content != parts.tokens[*id]) {
      return RefuseFile("added token " + std::to_string(*id), "not the vocabulary's",
                        "the vocabulary's token of that id");
    }
    for (const char* name : {"lstrip", "rstrip", "single_word", "normalized"}) {
      if (token.contains(name) && token[name] != false) {
        return RefuseFile("added token " + std::to_string(*id) + " " + name, JsonExcerpt(token[name]),
                          "false");
      }
    }
    parts.special[*id] = true;
  }
  return absl::OkStatus();
}

absl::Status ReadPreTokenizer(const Json& root, TokenizerParts& parts) {
  auto seen = Member(root, "pre_tokenizer", Json::value_t::object, "an object");
  if (!seen.ok()) return seen.status();
  for (const PreTokenizer known : {PreTokenizer::kSmolLm, PreTokenizer::kGpt2}) {
    if (**seen == Json(PreTokenizerJson(known))) {
      parts.pre_tokenizer = known;
      return absl::OkStatus();
    }
  }
  return RefuseFile("pre_tokenizer", "another kind",
                    "ByteLevel without prefix space, alone or after Digits with individual_digits");
}

// Names a special token by its literal in tokenizer_config.json: a string, or an object with "content".
absl::Status ReadNamedToken(const Json& config, const char* name, const TokenizerParts& parts,
                            std::optional<int32_t>& id) {
  if (!config.contains(name) || config[name].is_null()) return absl::OkStatus();
  const Json& value =
      config[name].is_object() && config[name].contains("content") ? config[name]["content"] : config[name];
  if (value.is_string()) {
    for (size_t i = 0; i < parts.tokens.size(); ++i) {
      if (parts.special[i] && parts.tokens[i] == value.get_ref<const std::string&>()) {
        id = static_cast<int32_t>(i);
        return absl::OkStatus();
      }
    }
  }
  return absl::InvalidArgumentError(std::string("tokenizer_config.json: ") + name + " is " +
                                    JsonExcerpt(value) + "; wanted the literal of an added token");
}

absl::Status ReadConfig(std::string_view text, TokenizerParts& parts) {
  auto config = ParseStrictJson(text, "tokenizer_config.json", {.bytes_max = 4 << 20, .depth_max = 8});
  if (!config.ok()) return config.status();
  if (!config->is_object()) {
    return absl::InvalidArgumentError("tokenizer_config.json: " + JsonExcerpt(*config) +
                                      "; wanted an object");
  }
  const std::pair<const char*, std::optional<int32_t>*> named[] = {{"bos_token", &parts.bos},
                                                                   {"eos_token", &parts.eos},
                                                                   {"unk_token", &parts.unknown},
                                                                   {"pad_token", &parts.padding}};
  for (const auto& [name, id] : named) {
    if (auto s = ReadNamedToken(*config, name, parts, *id); !s.ok()) return s;
  }
  if (!config->contains("chat_template")) return absl::OkStatus();
  auto chat_template = JsonString(*config, "chat_template", kTemplateBytesMax);
  if (!chat_template.ok()) {
    return absl::InvalidArgumentError("tokenizer_config.json: " +
                                      std::string(chat_template.status().message()));
  }
  parts.chat_template = *std::move(chat_template);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWhole(const std::string& path, size_t bytes_max) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return absl::NotFoundError(path + " cannot be opened");
  const std::streamoff size = in.tellg();
  if (size < 0 || static_cast<size_t>(size) > bytes_max) {
    return absl::InvalidArgumentError(path + " is " + std::to_string(size) + " bytes long; wanted at most " +
                                      std::to_string(bytes_max));
  }
  std::string text(static_cast<size_t>(size), '\0');
  in.seekg(0);
  in.read(text.data(), size);
  if (in.gcount() != size) return absl::UnavailableError(path + " cannot be read");
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromHuggingFaceJson(
    std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  auto root = ParseStrictJson(tokenizer_json, "tokenizer.json", {.bytes_max = kMaxJsonBytes, .depth_max = 8});
  if (!root.ok()) return root.status();
  auto model = Member(*root, "model", Json::value_t::object, "an object");
  if (!model.ok()) return model.status();
  TokenizerParts parts;
  if (auto s = RefuseUnknownFeatures(*root, **model); !s.ok()) return s;
  if (auto s = ReadVocabulary(**model, parts); !s.ok()) return s;
  if (auto s = ReadMerges(**model, parts); !s.ok()) return s;
  if (auto s = ReadAddedTokens(*root, parts); !s.ok()) return s;
  if (auto s = ReadPreTokenizer(*root, parts); !s.ok()) return s;
  if (auto s = ReadConfig(tokenizer_config_json, parts); !s.ok()) return s;
  return FromParts(std::move(parts));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromHuggingFace(const std::string& folder) {
  auto tokenizer_json = ReadWhole(folder + "/tokenizer.json", kMaxJsonBytes);
  if (!tokenizer_json.ok()) return tokenizer_json.status();
  auto config_json = ReadWhole(folder + "/tokenizer_config.json", kMaxJsonBytes);
  if (!config_json.ok()) return config_json.status();
  return FromHuggingFaceJson(*tokenizer_json, *config_json);
}

absl::Status Tokenizer::WriteHuggingFace(const std::string& folder) const {
  const std::pair<const char*, std::string> files[] = {
      {"tokenizer.json", TokenizerJson(parts_)},
      {"tokenizer_config.json", TokenizerConfigJson(parts_)},
      {"special_tokens_map.json", SpecialTokensMapJson(parts_)}};
  for (const auto& [name, text] : files) {
    if (auto s = WriteFileAtomically(folder + "/" + name, text); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace retort::student
