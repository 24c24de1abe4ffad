// Talking to a student: loads an exported Hugging Face folder and generates with the latent cache of
// multi-head latent attention (per layer and token only the normed compressed key-value and the rotated
// shared key are kept).
//
//   auto student = StudentModel::Load("out/demo/student", {.threads = 2});
//   auto reply = (*student)->Generate({{"user", "How long do I boil an egg?"}}, {.max_tokens = 100},
//                                     [](std::string_view text) { std::cout << text << std::flush; return
//                                     true; });
//
// One conversation at a time; not thread-safe.
#ifndef STUDENT_INFERENCE_DEEPSEEK_H_
#define STUDENT_INFERENCE_DEEPSEEK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "student/inference/generation.h"
#include "student/model/config.h"
#include "student/model/model.h"
#include "student/model/parameters.h"
#include "student/tokenizer/tokenizer.h"

namespace retort::student {

struct StudentLoadOptions {
  int threads = 0;  // 0 means all cores; the logits do not depend on it
};

class StudentModel {
 public:
  // Loads config.json, model.safetensors and the tokenizer of a folder, all of them as hostile input. Errors
  // of ReadStudent (student/export/hugging_face.h) and Tokenizer::FromHuggingFace; InvalidArgument when the
  // tokenizer has more tokens than the model.
  static absl::StatusOr<std::unique_ptr<StudentModel>> Load(const std::string& folder,
                                                            StudentLoadOptions options);
  ~StudentModel();

  const ModelConfig& config() const;
  const Tokenizer& tokenizer() const;
  const ParameterSet& weights() const;
  Model& model();                     // for student/evaluation
  int64_t parameters() const;         // tied matrices counted once
  int64_t active_parameters() const;  // that one token passes through

  // Continues a conversation with one assistant turn, drawn by student/inference/sampler.h. `on_text` gets
  // each piece of complete UTF-8 as it comes and ends the generation by returning false; it may be empty.
  // Tokens shared with the turn before are not computed again. InvalidArgument: no turn, an unknown role,
  // options out of range. ResourceExhausted: the conversation does not leave room for one token in the
  // context. Cancelled: on_text returned false. Internal: a logit is not finite.
  absl::StatusOr<Generation> Generate(const std::vector<ChatTurn>& turns, const SamplingOptions& options,
                                      const std::function<bool(std::string_view)>& on_text);

  // Appends `ids` to the tokens in the cache and returns the logits [tokenizer's vocabulary] after the last
  // one. InvalidArgument: no id, or one outside the vocabulary. ResourceExhausted: they do not fit in the
  // context.
  absl::StatusOr<std::vector<float>> Decode(std::span<const int32_t> ids);
  // Forgets the tokens in the cache.
  void Reset();

 private:
  struct Impl;
  explicit StudentModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_DEEPSEEK_H_
