#include "services/teacher/validate.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "ledger/uuid.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

constexpr int kAttemptMax = 1'000'000;
constexpr int kIndexMax = 1'000'000;

bool IsPromptId(std::string_view id) {
  return !id.empty() && id.size() <= 63 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

absl::Status CheckKey(const teacher::v1::SampleKey& key, const std::string& project) {
  auto job = ParseResourceName("key.job", key.job(), "projects/*/jobs/*");
  if (!job.ok()) return job.status();
  if ("projects/" + job->front() != project) return InvalidField("key.job", key.job(), "a job of " + project);
  if (!ledger::IsUuid(key.job_uid()))
    return InvalidField("key.job_uid", key.job_uid(), "a UUID in lower case");
  if (!IsPromptId(key.prompt_id())) return InvalidField("key.prompt_id", key.prompt_id(), "[a-z0-9-]{1,63}");
  if (key.index() < 0 || key.index() > kIndexMax) {
    return InvalidField("key.index", std::to_string(key.index()), "0 to 1000000");
  }
  if (key.attempt() < 1 || key.attempt() > kAttemptMax) {
    return InvalidField("key.attempt", std::to_string(key.attempt()), "1 to 1000000");
  }
  if (key.split() != "train" && key.split() != "held_out") {
    return InvalidField("key.split", key.split(), "train or held_out");
  }
  return absl::OkStatus();
}

teacher::CompletionRequest ToQuestion(const teacher::v1::ExtractRequest& request) {
  teacher::CompletionRequest question;
  for (const auto& message : request.messages())
    question.messages.push_back({message.role(), message.content()});
  const auto& sampling = request.sampling();
  question.sampling.temperature = sampling.temperature();
  question.sampling.top_p = sampling.top_p();
  question.sampling.seed = sampling.seed();
  question.sampling.max_tokens = sampling.max_tokens();
  question.sampling.top_logprobs = sampling.top_logprobs();
  question.sampling.stop.assign(sampling.stop().begin(), sampling.stop().end());
  return question;
}

}  // namespace

absl::StatusOr<ExtractCall> Validate(const teacher::v1::ExtractRequest& request) {
  auto teacher = ParseResourceName("teacher", request.teacher(), "projects/*/teachers/*");
  if (!teacher.ok()) return teacher.status();
  ExtractCall call;
  call.project = "projects/" + teacher->front();
  call.teacher_id = teacher->back();
  if (auto key = CheckKey(request.key(), call.project); !key.ok()) return key;
  if (!request.has_sampling()) return InvalidField("sampling", "nothing", "how the teacher samples");
  call.question = ToQuestion(request);
  if (auto question = teacher::ValidateRequest(call.question); !question.ok()) {
    return WithReason(question, INVALID_FIELD);
  }
  call.request_id =
      ledger::SampleRequestId(request.key().job_uid(), request.key().index(), request.key().attempt());
  call.question.request_id = call.request_id;
  return call;
}

absl::StatusOr<std::string> Validate(const teacher::v1::GetTeacherRequest& request) {
  auto name = ParseResourceName("name", request.name(), "projects/*/teachers/*");
  if (!name.ok()) return name.status();
  return name->back();
}

absl::Status Validate(const teacher::v1::ListTeachersRequest& request) {
  if (auto parent = ParseResourceName("parent", request.parent(), "projects/*"); !parent.ok())
    return parent.status();
  return absl::OkStatus();  // the rest is ParseListQuery's
}

}  // namespace retort::services
