// A small random Llama model as GGUF bytes, for tests that need a whole model and no downloaded file.
#ifndef TESTS_STUDENT_INFERENCE_TINY_LLAMA_H_
#define TESTS_STUDENT_INFERENCE_TINY_LLAMA_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "student/tokenizer/byte_alphabet.h"
#include "student/tokenizer/chat_template.h"
#include "tests/student/formats/gguf_bytes.h"

namespace retort::student {

struct TinyLlamaOptions {
  uint32_t width = 64;
  uint32_t heads = 4;
  uint32_t kv_heads = 2;
  uint32_t layers = 2;
  uint32_t ffn_width = 96;
  uint32_t context = 256;
  std::string architecture = "llama";
  bool broken_weights = false;  // scales that are infinite
};

// Matrices are Q4_1, the embedding Q8_0, norms F32; the vocabulary is the 256 bytes and two special tokens.
inline std::vector<uint8_t> TinyLlama(const TinyLlamaOptions& options = {}) {
  GgufBytes file;
  file.String("general.architecture", options.architecture);
  file.String("general.name", "tiny");
  file.Uint32("llama.block_count", options.layers);
  file.Uint32("llama.context_length", options.context);
  file.Uint32("llama.embedding_length", options.width);
  file.Uint32("llama.feed_forward_length", options.ffn_width);
  file.Uint32("llama.attention.head_count", options.heads);
  file.Uint32("llama.attention.head_count_kv", options.kv_heads);
  file.Float32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  file.String("tokenizer.ggml.model", "gpt2");
  file.String("tokenizer.ggml.pre", "smollm");
  std::vector<std::string> tokens = {"<|im_start|>", "<|im_end|>"};
  std::vector<int32_t> types = {3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    tokens.emplace_back(ByteCharacter(static_cast<uint8_t>(byte)));
    types.push_back(1);
  }
  file.Strings("tokenizer.ggml.tokens", tokens);
  file.Ints("tokenizer.ggml.token_type", types);
  file.Strings("tokenizer.ggml.merges", {});
  file.Uint32("tokenizer.ggml.eos_token_id", 1);
  file.String("tokenizer.chat_template", SmolLm2ChatTemplate());

  std::mt19937 random(17);
  const uint16_t ordinary = 0x1c00;  // 1/256
  const auto quantised = [&](uint64_t columns, uint64_t rows, bool q8) {
    const uint16_t scale = options.broken_weights ? 0x7c00
                           : q8                   ? 0x1800
                                                  : ordinary;  // infinity; 1/512 for the embedding
    std::vector<uint8_t> data;
    for (uint64_t block = 0; block < columns * rows / 32; ++block) {
      data.push_back(static_cast<uint8_t>(scale));
      data.push_back(static_cast<uint8_t>(scale >> 8));
      if (!q8) {  // offset: minus 7.5 scales, so that weights are centred
        const uint16_t offset = options.broken_weights ? 0 : 0xa780;
        data.push_back(static_cast<uint8_t>(offset));
        data.push_back(static_cast<uint8_t>(offset >> 8));
      }
      for (int i = 0; i < (q8 ? 32 : 16); ++i) data.push_back(static_cast<uint8_t>(random()));
    }
    return data;
  };
  const auto matrix = [&](const std::string& name, uint64_t columns, uint64_t rows) {
    file.Tensor(name, {columns, rows}, 3, quantised(columns, rows, false));
  };
  const auto norm = [&](const std::string& name) {
    std::vector<uint8_t> ones;
    for (uint32_t i = 0; i < options.width; ++i) ones.insert(ones.end(), {0, 0, 0x80, 0x3f});
    file.Tensor(name, {options.width}, 0, ones);
  };
  const uint64_t kv_width = options.width / options.heads * options.kv_heads;
  for (uint32_t i = 0; i < options.layers; ++i) {
    const std::string at = "blk." + std::to_string(i) + ".";
    norm(at + "attn_norm.weight");
    norm(at + "ffn_norm.weight");
    matrix(at + "attn_q.weight", options.width, options.width);
    matrix(at + "attn_k.weight", options.width, kv_width);
    matrix(at + "attn_v.weight", options.width, kv_width);
    matrix(at + "attn_output.weight", options.width, options.width);
    matrix(at + "ffn_gate.weight", options.width, options.ffn_width);
    matrix(at + "ffn_up.weight", options.width, options.ffn_width);
    matrix(at + "ffn_down.weight", options.ffn_width, options.width);
  }
  norm("output_norm.weight");
  file.Tensor("token_embd.weight", {options.width, tokens.size()}, 8,
              quantised(options.width, tokens.size(), true));
  // A head of its own: tied to the embedding, a random model repeats its last token.
  file.Tensor("output.weight", {options.width, tokens.size()}, 8,
              quantised(options.width, tokens.size(), true));
  return file.Bytes();
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_INFERENCE_TINY_LLAMA_H_
