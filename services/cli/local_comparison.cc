#include "services/cli/local_comparison.h"

#include <algorithm>
#include <cassert>
#include <cmath>

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

// Feeds the prompt and then the teacher's answer, one token at a time, measuring before each.
absl::Status Measure(student::StudentModel& model, const std::vector<int32_t>& prompt, const student::Generation& answer,
                     ComparisonSums& sums) {
  model.Reset();
  std::vector<uint32_t> ids(prompt.begin(), prompt.end());
  for (size_t i = 0; i < answer.ids.size(); ++i) {
    auto logits = model.Decode(ids);
    if (!logits.ok()) return logits.status();
    const size_t k = answer.k;
    sums.Add(*logits, answer.ids[i], std::span(answer.top_ids).subspan(i * k, k),
             std::span(answer.top_logprobs).subspan(i * k, k), answer.tail_logprobs[i]);
    ids.assign(1, static_cast<uint32_t>(answer.ids[i]));
  }
  return absl::OkStatus();
}

}  // namespace

void ComparisonSums::Add(std::span<const float> logits, int32_t written, std::span<const int32_t> top_ids,
                         std::span<const float> top_logprobs, float tail_logprob) {
  assert(!logits.empty() && !top_ids.empty() && top_ids.size() == top_logprobs.size());
  const auto best = std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit) - *best);
  const double log_sum = std::log(sum) + *best;

  double inside = 0;  // the student's mass on the teacher's alternatives
  for (size_t i = 0; i < top_ids.size(); ++i) {
    const double student_logprob = logits[top_ids[i]] - log_sum;
    const double teacher_logprob = top_logprobs[i];
    kl_ += std::exp(teacher_logprob) * (teacher_logprob - student_logprob);
    inside += std::exp(student_logprob);
  }
  if (std::isfinite(tail_logprob)) {
    // Rounding may leave nothing outside; then the smallest normal number stands for it.
    const double outside = std::max(1.0 - inside, 1e-30);
    kl_ += std::exp(static_cast<double>(tail_logprob)) * (tail_logprob - std::log(outside));
  }
  cross_entropy_ += log_sum - logits[written];
  if (best - logits.begin() == top_ids[0]) ++agreed_;
  ++tokens_;
}

double ComparisonSums::perplexity() const { return std::exp(cross_entropy_ / static_cast<double>(tokens_)); }

absl::StatusOr<ComparisonSums> CompareWithTeacher(const std::vector<retort::jobs::v1::Prompt>& prompts,
                                                  const ComparisonOptions& options,
                                                  const std::function<void(size_t, size_t)>& progress) {
  if (prompts.empty()) return absl::InvalidArgumentError("prompts: saw none, wanted at least one");
  auto student_tokenizer = student::Tokenizer::FromHuggingFace(options.student_folder);
  if (!student_tokenizer.ok()) return student_tokenizer.status();
  auto model = student::StudentModel::Load(options.student_folder, {.threads = options.threads});
  if (!model.ok()) return model.status();
  auto teacher = student::LlamaModel::Load(options.teacher_gguf);
  if (!teacher.ok()) return teacher.status();
  const student::Tokenizer& tokenizer = (*teacher)->tokenizer();
  if (tokenizer.Digest() != (*student_tokenizer)->Digest()) {
    return absl::InvalidArgumentError("student and teacher have different tokenizers: their probabilities cannot be compared");
  }
  auto engine = student::LlamaEngine::Create(*teacher, {.threads = options.threads});
  if (!engine.ok()) return engine.status();

  student::SamplingOptions sampling;
  sampling.max_tokens = options.max_tokens;
  sampling.top_logprobs = kTopLogprobs;
  ComparisonSums sums;
  for (size_t i = 0; i < prompts.size(); ++i) {
    auto ids = tokenizer.EncodeChat(TurnsOf(prompts[i]), /*add_generation_prompt=*/true);
    if (!ids.ok()) return ids.status();
    auto answer = (*engine)->Generate(*ids, sampling);
    if (!answer.ok()) return answer.status();
    if (auto s = Measure(**model, *ids, *answer, sums); !s.ok()) return s;
    progress(i + 1, prompts.size());
  }
  return sums;
}

}  // namespace retort::services
