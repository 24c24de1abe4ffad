// Weights of a Llama-architecture model from a GGUF file, validated against its metadata and repacked once
// for speed.
//
// Immutable; share one between engines and threads.
#ifndef STUDENT_INFERENCE_LLAMA_MODEL_H_
#define STUDENT_INFERENCE_LLAMA_MODEL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "student/formats/gguf.h"
#include "student/inference/packed_matrix.h"
#include "student/inference/teacher_gguf.h"
#include "student/tokenizer/tokenizer.h"

namespace retort::student {

// Shape of the model; every field has been checked against the tensors.
struct LlamaConfig {
  int32_t vocabulary = 0;
  int32_t width = 0;
  int32_t layers = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t ffn_width = 0;
  int32_t context = 0;
  float rms_epsilon = 0;
  float rope_base = 0;
};

struct LlamaLayer {
  std::vector<float> attention_norm;  // [width]
  PackedMatrix qkv;     // [(heads + 2 kv_heads) * head_dim, width], q and k rows for adjacent-pair RoPE
  PackedMatrix output;  // [width, heads * head_dim]
  std::vector<float> ffn_norm;  // [width]
  PackedMatrix gate_up;         // [2 ffn_width, width]: gate rows, then up rows
  PackedMatrix down;            // [width, ffn_width]
};

class LlamaModel {
 public:
  // Opens, validates and repacks the file at `path`. Errors as GgufFile::Open and Tokenizer::FromGguf;
  // InvalidArgument also for metadata or tensors whose shapes contradict each other, and non-finite norms;
  // Unimplemented for an architecture other than llama and for features this engine does not compute (biases,
  // experts, scaled RoPE), by name.
  static absl::StatusOr<std::shared_ptr<const LlamaModel>> Load(const std::string& path);
  // The same from a parsed file (tests, fuzzing), whose bytes the caller keeps alive if it does not own them.
  static absl::StatusOr<std::unique_ptr<LlamaModel>> FromGguf(std::unique_ptr<GgufFile> file);

  const LlamaConfig& config() const { return config_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  // SHA-256 of the file's bytes as they were loaded.
  const std::array<uint8_t, 32>& weights_sha256() const { return weights_sha256_; }
  // general.name, or the file's name without it.
  const std::string& name() const { return name_; }
  // Bytes of packed weights that one step reads, the input embedding aside.
  uint64_t step_bytes() const;
  // Multiply-adds of one token through all matrices, the output head included.
  uint64_t token_multiply_adds() const;

  const std::vector<LlamaLayer>& layers() const { return layers_; }
  const std::vector<float>& output_norm() const { return output_norm_; }
  const PackedMatrix& head() const { return head_; }
  // Writes the embedding of a token, [width] fp32.
  void Embed(int32_t token, float* out) const;

 private:
  LlamaModel() = default;
  absl::Status ReadConfig();
  absl::Status ReadWeights();

  LlamaConfig config_;
  std::string name_;
  std::unique_ptr<GgufFile> file_;
  const GgufTensor* embedding_ = nullptr;  // inside file_
  std::unique_ptr<Tokenizer> tokenizer_;
  std::array<uint8_t, 32> weights_sha256_{};
  std::vector<LlamaLayer> layers_;
  std::vector<float> output_norm_;
  PackedMatrix head_;
};

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_LLAMA_MODEL_H_
