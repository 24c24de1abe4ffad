// Compares an exported student with a teacher on this machine, token by token, without a server.
#ifndef SERVICES_CLI_LOCAL_COMPARISON_H_
#define SERVICES_CLI_LOCAL_COMPARISON_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "retort/jobs/v1/job_spec.pb.h"
#include "student/evaluation/evaluate.h"
#include "student/inference/generation.h"
#include "student/training/document.h"

namespace retort::services {

struct ComparisonOptions {
  std::string student_folder;
  std::string teacher_gguf;
  int max_tokens = 64;  // of an answer of the teacher
  int threads = 0;      // 0: all cores
};

// The teacher's answer to a prompt as a document to measure on. Pure.
student::Document DocumentOf(const std::vector<int32_t>& prompt, const student::Generation& answer);

// The teacher answers each prompt greedily, and the student is measured on those answers as a job would
// measure it (student/evaluation). `progress` gets prompts done and in all. InvalidArgument when student and
// teacher have different tokenizers, or there is no prompt; otherwise the errors of loading either, of
// generating and of Evaluate.
absl::StatusOr<student::Quality> CompareWithTeacher(const std::vector<retort::jobs::v1::Prompt>& prompts,
                                                    const ComparisonOptions& options,
                                                    const std::function<void(size_t, size_t)>& progress);

}  // namespace retort::services

#endif  // SERVICES_CLI_LOCAL_COMPARISON_H_
