#include "teacher/local/local_teacher.h"

#include <chrono>
#include <future>
#include <utility>
#include <vector>

#include "student/formats/sha256.h"

namespace retort::teacher {
namespace {

// How often a waiting call looks at its caller's wish to cancel.
constexpr auto kCancelInterval = std::chrono::milliseconds(50);

TokenTrace TraceOf(const student::Tokenizer& tokenizer, const std::vector<int32_t>& prompt,
                   const student::Generation& generation) {
  TokenTrace trace;
  trace.tokenizer_sha256 = tokenizer.Digest();
  trace.vocabulary_size = static_cast<uint32_t>(tokenizer.vocabulary_size());
  trace.prompt_ids.assign(prompt.begin(), prompt.end());
  trace.completion_ids.assign(generation.ids.begin(), generation.ids.end());
  trace.completion_logprobs = generation.logprobs;
  trace.k = static_cast<uint32_t>(generation.k);
  trace.top_ids.assign(generation.top_ids.begin(), generation.top_ids.end());
  trace.top_logprobs = generation.top_logprobs;
  trace.tail_logprobs = generation.tail_logprobs;
  return trace;
}

student::SamplingOptions OptionsOf(const Sampling& sampling) {
  student::SamplingOptions options;
  options.temperature = sampling.temperature;
  options.top_p = sampling.top_p;
  options.seed = sampling.seed;
  options.max_tokens = sampling.max_tokens;
  options.top_logprobs = sampling.top_logprobs;
  options.stop = sampling.stop;
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalTeacher>> LocalTeacher::Create(
    const std::string& gguf_path, const student::LlamaEngineOptions& options) {
  std::string path = gguf_path;
  if (path.empty()) {
    auto found = student::FindTeacherGguf();
    if (!found.ok()) return found.status();
    path = *std::move(found);
  }
  auto model = student::LlamaModel::Load(path);
  if (!model.ok()) return model.status();
  // Asked once here, so that a model that cannot be prompted is refused at start and not at the first sample.
  auto prompt = (*model)->tokenizer().EncodeChat({{"user", ""}}, true);
  if (!prompt.ok()) return prompt.status();
  auto engine = student::LlamaEngine::Create(*std::move(model), options);
  if (!engine.ok()) return engine.status();
  return std::unique_ptr<LocalTeacher>(new LocalTeacher(*std::move(engine)));
}

LocalTeacher::LocalTeacher(std::unique_ptr<student::LlamaEngine> engine) : engine_(std::move(engine)) {
  identity_.endpoint = "local";
  identity_.weights_sha256 = student::HexOf(engine_->model().weights_sha256());
  identity_.tokenizer_sha256 = student::HexOf(tokenizer().Digest());
  identity_.top_logprobs_max = student::kMaxTopLogprobs;
}

absl::StatusOr<Completion> LocalTeacher::Complete(const CompletionRequest& request,
                                                  const CallLimits& limits) {
  if (auto s = ValidateRequest(request); !s.ok()) return s;
  std::vector<student::ChatTurn> turns;
  for (const Turn& turn : request.messages) turns.push_back({turn.role, turn.content});
  auto prompt = tokenizer().EncodeChat(turns, /*add_generation_prompt=*/true);
  if (!prompt.ok()) return prompt.status();

  // Shared, since the engine's thread may still be inside set_value when this call returns.
  auto promise = std::make_shared<std::promise<absl::StatusOr<student::Generation>>>();
  std::future<absl::StatusOr<student::Generation>> result = promise->get_future();
  auto number =
      engine_->Submit(*prompt, OptionsOf(request.sampling), limits.deadline,
                      [promise](absl::StatusOr<student::Generation> g) { promise->set_value(std::move(g)); });
  if (!number.ok()) return number.status();
  // Without a wish to cancel there is nothing to look at: the engine itself watches the deadline.
  while (limits.cancelled && result.wait_for(kCancelInterval) != std::future_status::ready) {
    if (limits.cancelled()) engine_->Cancel(*number);
  }
  absl::StatusOr<student::Generation> generation = result.get();
  if (!generation.ok()) return generation.status();

  Completion completion;
  completion.trace = TraceOf(tokenizer(), *prompt, *generation);
  completion.text = std::move(generation->text);
  completion.finish_reason =
      generation->finish_reason == student::FinishReason::kStop ? FinishReason::kStop : FinishReason::kLength;
  completion.model_answered = model_name();
  completion.prompt_tokens = generation->prompt_tokens;
  completion.completion_tokens = static_cast<int64_t>(generation->ids.size());
  return completion;
}

}  // namespace retort::teacher
