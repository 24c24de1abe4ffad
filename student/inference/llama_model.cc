#include "student/inference/llama_model.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <filesystem>

#include "student/formats/sha256.h"

namespace retort::student {
namespace {

constexpr uint64_t kMaxLayers = 512;
constexpr uint64_t kMaxWidth = 1 << 16;
constexpr uint64_t kMaxContext = 1 << 20;
constexpr uint64_t kMaxHeads = 1024;

absl::Status Refuse(const std::string& field, const std::string& seen, const std::string& wanted) {
  return absl::InvalidArgumentError("GGUF metadata '" + field + "' is " + seen + "; wanted " + wanted);
}

absl::Status ReadInt(const GgufFile& file, const std::string& key, uint64_t low, uint64_t high,
                     int32_t& out) {
  auto value = file.GetUint(key);
  if (!value.ok()) return value.status();
  if (*value < low || *value > high) {
    return Refuse(key, std::to_string(*value), std::to_string(low) + " to " + std::to_string(high));
  }
  out = static_cast<int32_t>(*value);
  return absl::OkStatus();
}

absl::Status ReadPositive(const GgufFile& file, const std::string& key, float& out) {
  auto value = file.GetFloat(key);
  if (!value.ok()) return value.status();
  if (!(*value > 0 && *value <= 1e9)) return Refuse(key, std::to_string(*value), "above 0, at most 1e9");
  out = static_cast<float>(*value);
  return absl::OkStatus();
}

// What would change the arithmetic in a way that this engine does not compute.
absl::Status RefuseUnknownFeatures(const GgufFile& file) {
  if (file.Has("llama.expert_count")) {
    auto experts = file.GetUint("llama.expert_count");
    if (!experts.ok()) return experts.status();
    if (*experts != 0) {
      return absl::UnimplementedError("GGUF metadata 'llama.expert_count' is " + std::to_string(*experts) +
                                      "; wanted 0");
    }
  }
  if (file.Has("llama.rope.scaling.type")) {
    auto type = file.GetString("llama.rope.scaling.type");
    if (!type.ok()) return type.status();
    if (*type != "none") {
      return absl::UnimplementedError("GGUF metadata 'llama.rope.scaling.type' is '" +
                                      std::string(type->substr(0, 32)) + "'; wanted 'none' or nothing");
    }
  }
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.name.ends_with(".bias") || tensor.name == "rope_freqs.weight") {
      return absl::UnimplementedError("GGUF tensor '" + std::string(tensor.name) +
                                      "' is there; wanted a model without biases and rope factors");
    }
  }
  return absl::OkStatus();
}

absl::Status ReadNorm(const GgufFile& file, const std::string& name, uint64_t width,
                      std::vector<float>& out) {
  const uint64_t dims[] = {width};
  auto tensor = file.GetTensor(name, dims);
  if (!tensor.ok()) return tensor.status();
  out.resize(width);
  const GgufTypeTraits* traits = FindGgufType(static_cast<uint32_t>((*tensor)->type));
  if (traits->block_weights != 1) {
    return absl::InvalidArgumentError("GGUF tensor '" + name + "' is of type " + std::string(traits->name) +
                                      "; wanted F32, F16 or BF16");
  }
  DequantizeGguf((*tensor)->type, (*tensor)->data.data(), width, out.data());
  for (const float w : out) {
    if (!std::isfinite(w)) {
      return absl::InvalidArgumentError("GGUF tensor '" + name +
                                        "' holds a value that is not finite; wanted finite ones");
    }
  }
  return absl::OkStatus();
}

struct Part {
  std::string name;
  int64_t rows;
};

// Packs named matrices of row length `columns` below one another.
absl::Status ReadMatrix(const GgufFile& file, const std::vector<Part>& parts, int64_t columns,
                        PackedMatrix& out) {
  std::vector<const GgufTensor*> tensors;
  for (const Part& part : parts) {
    const uint64_t dims[] = {static_cast<uint64_t>(columns), static_cast<uint64_t>(part.rows)};
    auto tensor = file.GetTensor(part.name, dims);
    if (!tensor.ok()) return tensor.status();
    tensors.push_back(*tensor);
  }
  auto packed = PackedMatrix::Pack(tensors);
  if (!packed.ok()) return packed.status();
  out = *std::move(packed);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const LlamaModel>> LlamaModel::Load(const std::string& path) {
  auto file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  auto model = FromGguf(*std::move(file));
  if (!model.ok())
    return absl::Status(model.status().code(), path + ": " + std::string(model.status().message()));
  if ((*model)->name_.empty()) (*model)->name_ = std::filesystem::path(path).filename().string();
  return std::shared_ptr<const LlamaModel>(*std::move(model));
}

absl::StatusOr<std::unique_ptr<LlamaModel>> LlamaModel::FromGguf(std::unique_ptr<GgufFile> file) {
  std::unique_ptr<LlamaModel> model(new LlamaModel());
  model->file_ = std::move(file);
  if (auto s = model->ReadConfig(); !s.ok()) return s;
  auto tokenizer = Tokenizer::FromGguf(*model->file_);
  if (!tokenizer.ok()) return tokenizer.status();
  model->tokenizer_ = *std::move(tokenizer);
  if (model->tokenizer_->vocabulary_size() != model->config_.vocabulary) {
    return Refuse("llama.vocab_size", std::to_string(model->config_.vocabulary),
                  "the number of tokens, " + std::to_string(model->tokenizer_->vocabulary_size()));
  }
  if (auto s = model->ReadWeights(); !s.ok()) return s;
  const std::span<const uint8_t> bytes = model->file_->bytes();
  Sha256 sha256;
  sha256.Update(bytes);
  model->weights_sha256_ = sha256.Finish();
  return model;
}

absl::Status LlamaModel::ReadConfig() {
  const GgufFile& file = *file_;
  auto architecture = file.GetString("general.architecture");
  if (!architecture.ok()) return architecture.status();
  if (*architecture != "llama") {
    return absl::UnimplementedError("GGUF metadata 'general.architecture' is '" +
                                    std::string(architecture->substr(0, 32)) + "'; wanted 'llama'");
  }
  if (auto s = RefuseUnknownFeatures(file); !s.ok()) return s;
  LlamaConfig& c = config_;
  if (auto s = ReadInt(file, "llama.block_count", 1, kMaxLayers, c.layers); !s.ok()) return s;
  if (auto s = ReadInt(file, "llama.context_length", 1, kMaxContext, c.context); !s.ok()) return s;
  if (auto s = ReadInt(file, "llama.embedding_length", 32, kMaxWidth, c.width); !s.ok()) return s;
  if (auto s = ReadInt(file, "llama.feed_forward_length", 32, kMaxWidth, c.ffn_width); !s.ok()) return s;
  if (auto s = ReadInt(file, "llama.attention.head_count", 1, kMaxHeads, c.heads); !s.ok()) return s;
  c.kv_heads = c.heads;
  if (file.Has("llama.attention.head_count_kv")) {
    if (auto s = ReadInt(file, "llama.attention.head_count_kv", 1, c.heads, c.kv_heads); !s.ok()) return s;
  }
  if (c.width % c.heads != 0) {
    return Refuse("llama.attention.head_count", std::to_string(c.heads),
                  "a divisor of the width " + std::to_string(c.width));
  }
  c.head_dim = c.width / c.heads;
  if (c.heads % c.kv_heads != 0) {
    return Refuse("llama.attention.head_count_kv", std::to_string(c.kv_heads),
                  "a divisor of the number of heads " + std::to_string(c.heads));
  }
  if (c.head_dim % 16 != 0) {
    return Refuse("llama.attention.head_count", std::to_string(c.heads),
                  "heads of a multiple of 16; they are " + std::to_string(c.head_dim) + " wide");
  }
  int32_t rope_width = c.head_dim;
  for (const char* key :
       {"llama.rope.dimension_count", "llama.attention.key_length", "llama.attention.value_length"}) {
    if (!file.Has(key)) continue;
    if (auto s = ReadInt(file, key, 1, kMaxWidth, rope_width); !s.ok()) return s;
    if (rope_width != c.head_dim) return Refuse(key, std::to_string(rope_width), std::to_string(c.head_dim));
  }
  if (c.width % 32 != 0) return Refuse("llama.embedding_length", std::to_string(c.width), "a multiple of 32");
  if (c.ffn_width % 32 != 0)
    return Refuse("llama.feed_forward_length", std::to_string(c.ffn_width), "a multiple of 32");
  if (auto s = ReadPositive(file, "llama.attention.layer_norm_rms_epsilon", c.rms_epsilon); !s.ok()) return s;
  c.rope_base = 10000.0f;
  if (file.Has("llama.rope.freq_base")) {
    if (auto s = ReadPositive(file, "llama.rope.freq_base", c.rope_base); !s.ok()) return s;
  }
  if (file.Has("llama.vocab_size")) {
    return ReadInt(file, "llama.vocab_size", 1, Tokenizer::kMaxVocabulary, c.vocabulary);
  }
  auto tokens = file.GetStrings("tokenizer.ggml.tokens");
  if (!tokens.ok()) return tokens.status();
  c.vocabulary = static_cast<int32_t>(tokens->size());  // at most GgufFile::kMaxArrayElements
  return absl::OkStatus();
}

absl::Status LlamaModel::ReadWeights() {
  const LlamaConfig& c = config_;
  const GgufFile& file = *file_;
  const int64_t kv_width = int64_t{c.kv_heads} * c.head_dim;
  for (int32_t i = 0; i < c.layers; ++i) {
    const std::string at = "blk." + std::to_string(i) + ".";
    LlamaLayer layer;
    if (auto s = ReadNorm(file, at + "attn_norm.weight", c.width, layer.attention_norm); !s.ok()) return s;
    if (auto s = ReadNorm(file, at + "ffn_norm.weight", c.width, layer.ffn_norm); !s.ok()) return s;
    const std::vector<Part> qkv = {
        {at + "attn_q.weight", c.width}, {at + "attn_k.weight", kv_width}, {at + "attn_v.weight", kv_width}};
    if (auto s = ReadMatrix(file, qkv, c.width, layer.qkv); !s.ok()) return s;
    if (auto s = ReadMatrix(file, {{at + "attn_output.weight", c.width}}, c.width, layer.output); !s.ok())
      return s;
    const std::vector<Part> gate_up = {{at + "ffn_gate.weight", c.ffn_width},
                                       {at + "ffn_up.weight", c.ffn_width}};
    if (auto s = ReadMatrix(file, gate_up, c.width, layer.gate_up); !s.ok()) return s;
    if (auto s = ReadMatrix(file, {{at + "ffn_down.weight", c.width}}, c.ffn_width, layer.down); !s.ok())
      return s;
    layers_.push_back(std::move(layer));
  }
  if (auto s = ReadNorm(file, "output_norm.weight", c.width, output_norm_); !s.ok()) return s;
  const uint64_t dims[] = {static_cast<uint64_t>(c.width), static_cast<uint64_t>(c.vocabulary)};
  auto embedding = file.GetTensor("token_embd.weight", dims);
  if (!embedding.ok()) return embedding.status();
  embedding_ = *embedding;
  const char* head =
      file.FindTensor("output.weight") != nullptr ? "output.weight" : "token_embd.weight";  // tied
  if (auto s = ReadMatrix(file, {{head, c.vocabulary}}, c.width, head_); !s.ok()) return s;
  if (auto name = file.GetString("general.name"); name.ok()) name_ = std::string(name->substr(0, 256));
  return absl::OkStatus();
}

void LlamaModel::Embed(int32_t token, float* out) const {
  assert(token >= 0 && token < config_.vocabulary);
  DequantizeGguf(embedding_->type, embedding_->data.data() + token * embedding_->row_bytes(), config_.width,
                 out);
}

uint64_t LlamaModel::step_bytes() const {
  uint64_t bytes = head_.bytes();
  for (const LlamaLayer& layer : layers_) {
    bytes += layer.qkv.bytes() + layer.output.bytes() + layer.gate_up.bytes() + layer.down.bytes();
  }
  return bytes;
}

uint64_t LlamaModel::token_multiply_adds() const {
  const auto size = [](const PackedMatrix& m) { return static_cast<uint64_t>(m.rows()) * m.columns(); };
  uint64_t sum = size(head_);
  for (const LlamaLayer& layer : layers_) {
    sum += size(layer.qkv) + size(layer.output) + size(layer.gate_up) + size(layer.down);
  }
  return sum;
}

}  // namespace retort::student
