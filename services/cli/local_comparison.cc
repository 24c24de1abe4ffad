#include "services/cli/local_comparison.h"

#include "student/inference/deepseek.h"
#include "student/inference/llama.h"
#include "student/tokenizer/tokenizer.h"

namespace retort::services {
namespace {

constexpr int kTopLogprobs = 32;

std::vector<student::ChatTurn> TurnsOf(const retort::jobs::v1::Prompt& prompt) {
  std::vector<student::ChatTurn> turns;
  if (!prompt.system().empty()) turns.push_back({"system", prompt.system()});
  turns.push_back({"user", prompt.text()});
  return turns;
}

}  // namespace

student::Document DocumentOf(const std::vector<int32_t>& prompt, const student::Generation& answer) {
  student::Document document;
  document.tokens.assign(prompt.begin(), prompt.end());
  document.tokens.insert(document.tokens.end(), answer.ids.begin(), answer.ids.end());
  document.completion_begin = static_cast<uint32_t>(prompt.size());
  document.k = static_cast<uint32_t>(answer.k);
  document.top_ids.assign(answer.top_ids.begin(), answer.top_ids.end());
  document.top_logprobs = answer.top_logprobs;
  document.tail_logprobs = answer.tail_logprobs;
  return document;
}

absl::StatusOr<student::Quality> CompareWithTeacher(const std::vector<retort::jobs::v1::Prompt>& prompts,
                                                    const ComparisonOptions& options,
                                                    const std::function<void(size_t, size_t)>& progress) {
  if (prompts.empty()) return absl::InvalidArgumentError("prompts: saw none, wanted at least one");
  auto student = student::StudentModel::Load(options.student_folder, {.threads = options.threads});
  if (!student.ok()) return student.status();
  auto teacher = student::LlamaModel::Load(options.teacher_gguf);
  if (!teacher.ok()) return teacher.status();
  const student::Tokenizer& tokenizer = (*teacher)->tokenizer();
  if (tokenizer.Digest() != (*student)->tokenizer().Digest()) {
    return absl::InvalidArgumentError(
        "student and teacher have different tokenizers: their probabilities cannot be compared");
  }
  student::LlamaEngineOptions engine_options;
  engine_options.threads = options.threads;
  auto engine = student::LlamaEngine::Create(*teacher, engine_options);
  if (!engine.ok()) return engine.status();

  student::SamplingOptions sampling;
  sampling.max_tokens = options.max_tokens;
  sampling.top_logprobs = kTopLogprobs;
  std::vector<student::Document> documents;
  for (size_t i = 0; i < prompts.size(); ++i) {
    auto ids = tokenizer.EncodeChat(TurnsOf(prompts[i]), /*add_generation_prompt=*/true);
    if (!ids.ok()) return ids.status();
    auto answer = (*engine)->Generate(*ids, sampling);
    if (!answer.ok()) return answer.status();
    documents.push_back(DocumentOf(*ids, *answer));
    progress(i + 1, prompts.size());
  }
  return student::Evaluate((*student)->model(), (*student)->weights(), documents);
}

}  // namespace retort::services
