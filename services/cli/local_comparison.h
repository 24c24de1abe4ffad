// Compares an exported student with a teacher on this machine, token by token, without a server.
#ifndef SERVICES_CLI_LOCAL_COMPARISON_H_
#define SERVICES_CLI_LOCAL_COMPARISON_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/jobs/v1/job_spec.pb.h"

namespace retort::services {

// Sums over positions; means come from Quality().
class ComparisonSums {
 public:
  // One position: the student's logits, the token that the teacher wrote, and the teacher's `top_ids` (most likely first)
  // with their log-probabilities and the log of the mass outside them. KL is over these alternatives and one bucket for
  // the rest, as in student/evaluation. Ids must be below logits.size().
  void Add(std::span<const float> logits, int32_t written, std::span<const int32_t> top_ids,
           std::span<const float> top_logprobs, float tail_logprob);

  int64_t tokens() const { return tokens_; }
  double kl() const { return kl_ / static_cast<double>(tokens_); }
  double agreement() const { return static_cast<double>(agreed_) / static_cast<double>(tokens_); }
  double perplexity() const;

 private:
  double kl_ = 0, cross_entropy_ = 0;
  int64_t agreed_ = 0, tokens_ = 0;
};

struct ComparisonOptions {
  std::string student_folder;
  std::string teacher_gguf;
  int max_tokens = 64;
  int threads = 0;  // 0: all cores
};

// The teacher answers each prompt greedily, and the student is measured on that answer. `progress` gets prompts done and
// in all. InvalidArgument when student and teacher have different tokenizers, or there is no prompt; otherwise the errors
// of loading either, and of generating.
absl::StatusOr<ComparisonSums> CompareWithTeacher(const std::vector<retort::jobs::v1::Prompt>& prompts,
                                                  const ComparisonOptions& options,
                                                  const std::function<void(size_t, size_t)>& progress);

}  // namespace retort::services

#endif  // SERVICES_CLI_LOCAL_COMPARISON_H_
