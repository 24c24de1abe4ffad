// Talking to an exported student: loads a Hugging Face folder and generates with the latent cache of
// multi-head latent attention (per layer and token only the normed compressed key-value and the rotated
// shared key are kept).
//
//   auto student = StudentModel::Load("out/demo/student", {.threads = 2});
//   auto reply = (*student)->Generate({{"user", "Why is the sky blue?"}}, {.max_tokens = 100},
//                                     [](std::string_view text) { std::cout << text << std::flush; return
//                                     true; });
//
// Logits equal those of the training forward pass up to fp32 rounding. One conversation at a time; not
// thread-safe.
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

namespace retort::student {

struct StudentTurn {
  std::string role;     // system, user or assistant
  std::string content;  // UTF-8; special tokens in it are encoded as plain text
};

struct GenerateOptions {
  int max_tokens = 256;    // 1 to the model's context
  double temperature = 0;  // 0 takes the most likely token
  double top_p = 1;        // (0, 1]
  uint64_t seed = 0;
};

struct Generated {
  std::string text;
  std::vector<uint32_t> ids;  // with the end-of-turn token, when it came
  std::string finish_reason;  // stop, length, or cancelled (the callback said so)
  int64_t prompt_tokens = 0;
  double seconds = 0;
};

struct StudentLoadOptions {
  int threads = 0;  // 0 means all cores; the logits do not depend on it
};

class StudentModel {
 public:
  // Loads config.json, model.safetensors and tokenizer.json of a folder, all of them as hostile input.
  // NotFound: a file is missing. InvalidArgument: a file is malformed, a field has an unsupported value, a
  // tensor is missing or has another shape (the field, what was seen, what is wanted).
  static absl::StatusOr<std::unique_ptr<StudentModel>> Load(const std::string& folder,
                                                            StudentLoadOptions options);
  ~StudentModel();

  int64_t vocabulary_size() const;
  int64_t context_length() const;
  int64_t parameters() const;         // tied matrices counted once
  int64_t active_parameters() const;  // touched by one token

  // Continues a conversation with one assistant turn. `on_text` is called with each piece of complete UTF-8
  // and stops the generation by returning false; it may be empty. InvalidArgument: no turn, an unknown role,
  // options out of range. ResourceExhausted: the prompt does not fit in the context.
  absl::StatusOr<Generated> Generate(const std::vector<StudentTurn>& turns, const GenerateOptions& options,
                                     const std::function<bool(std::string_view)>& on_text);

  // Forgets the cached tokens.
  void Reset();

  // Appends `ids` to the cache and returns the logits [vocabulary] after the last of them; the view is valid
  // until the next call. InvalidArgument: no id, or one outside the vocabulary; ResourceExhausted: the
  // context is full.
  absl::StatusOr<std::span<const float>> Decode(std::span<const uint32_t> ids);

 private:
  struct Impl;
  explicit StudentModel(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_DEEPSEEK_H_
