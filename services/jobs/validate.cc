#include "services/jobs/validate.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "ledger/uuid.h"
#include "policy/facts.h"
#include "services/edge/page_token.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"
#include "student/model/config.h"
#include "student/parallel/layout.h"

namespace retort::jobs {
namespace {

using services::InvalidField;

constexpr size_t kDisplayNameBytesMax = 200;
constexpr size_t kListedBytesMax = 256;  // a licence, an authorisation
constexpr int kAuthorisationsMax = 64;
constexpr int kMessagesMax = 64;
constexpr size_t kMessageBytesMax = 256 * 1024;
constexpr uint64_t kSeedMax =
    (uint64_t{1} << 53) - 1;  // statements hold integers that JSON readers keep exactly
constexpr size_t kStopBytesMax = 64;
constexpr int kStopsMax = 4;
constexpr int64_t kRendezvousPayloadBytesMax = 4096;
constexpr int64_t kLabelsMax = 64;
constexpr size_t kReasonBytesMax = 1024;

#define RETURN_IF_ERROR(expression)                                         \
  do {                                                                      \
    if (absl::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

absl::Status InRange(std::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return InvalidField(field, std::to_string(value), std::to_string(low) + " to " + std::to_string(high));
}

absl::Status InRange(std::string_view field, double value, double low, double high, bool low_included,
                     std::string_view wanted) {
  const bool above = low_included ? value >= low : value > low;
  if (std::isfinite(value) && above && value <= high) return absl::OkStatus();
  return InvalidField(field, std::to_string(value), wanted);
}

absl::Status NotLonger(std::string_view field, std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return absl::OkStatus();
  return InvalidField(field, std::to_string(text.size()) + " bytes",
                      "at most " + std::to_string(bytes_max) + " bytes");
}

bool IsPromptId(std::string_view id) {
  if (id.empty() || id.size() > 63) return false;
  for (const char c : id) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return false;
  }
  return true;
}

absl::Status ValidatePrompts(const v1::JobSpec& spec) {
  RETURN_IF_ERROR(InRange("spec.prompts", int64_t{spec.prompts_size()}, 1, kPromptsMax));
  std::set<std::string_view> ids;
  bool train = false;
  for (int i = 0; i < spec.prompts_size(); ++i) {
    const v1::Prompt& prompt = spec.prompts(i);
    const std::string field = "spec.prompts[" + std::to_string(i) + "]";
    if (!IsPromptId(prompt.id())) return InvalidField(field + ".id", prompt.id(), "[a-z0-9-]{1,63}");
    if (!ids.insert(prompt.id()).second)
      return InvalidField(field + ".id", prompt.id(), "an id that no other prompt has");
    // The text itself is never shown.
    if (prompt.text().empty()) return InvalidField(field + ".text", "", "the user turn");
    RETURN_IF_ERROR(NotLonger(field + ".text", prompt.text(), kPromptBytesMax));
    RETURN_IF_ERROR(NotLonger(field + ".system", prompt.system(), kPromptBytesMax));
    if (prompt.split() == "held_out") continue;
    if (!prompt.split().empty() && prompt.split() != "train") {
      return InvalidField(field + ".split", prompt.split(), "train, held_out or nothing");
    }
    train = true;
  }
  if (!train)
    return InvalidField("spec.prompts", "held_out prompts only", "at least one prompt of split train");
  return absl::OkStatus();
}

// The purpose becomes facts of decisions; what policy would refuse to read is refused here, before there is a
// job.
absl::Status ValidatePurpose(const policy::v1::StudentFacts& purpose) {
  policy::v1::Facts facts;
  *facts.mutable_student() = purpose;
  const absl::Status status = policy::ValidateFacts(facts);
  if (status.ok()) return status;
  return services::WithReason(absl::InvalidArgumentError("spec.purpose: " + std::string(status.message())),
                              INVALID_FIELD, {{"field", "spec.purpose"}});
}

absl::Status ValidateStudent(const v1::StudentSpec& student) {
  if (!services::IsReleaseName(student.name())) {
    return InvalidField("spec.student.name", student.name(), "[A-Za-z0-9][A-Za-z0-9._-]{0,95}");
  }
  if (student.shape() != "unit" && student.shape() != "nano" && student.shape() != "small") {
    return InvalidField("spec.student.shape", student.shape(), "unit, nano or small");
  }
  return absl::OkStatus();
}

absl::Status ValidateTraining(const v1::TrainingSpec& training) {
  RETURN_IF_ERROR(InRange("spec.training.steps", int64_t{training.steps()}, 1, 1'000'000));
  RETURN_IF_ERROR(InRange("spec.training.sequence_length", int64_t{training.sequence_length()}, 64, 8192));
  RETURN_IF_ERROR(InRange("spec.training.batch_tokens", int64_t{training.batch_tokens()}, 64, 1'048'576));
  if (training.batch_tokens() % training.sequence_length() != 0) {
    return InvalidField("spec.training.batch_tokens", std::to_string(training.batch_tokens()),
                        "a multiple of sequence_length " + std::to_string(training.sequence_length()));
  }
  RETURN_IF_ERROR(
      InRange("spec.training.learning_rate", training.learning_rate(), 1e-8, 1, true, "0.00000001 to 1"));
  RETURN_IF_ERROR(
      InRange("spec.training.warmup_steps", int64_t{training.warmup_steps()}, 0, training.steps()));
  RETURN_IF_ERROR(
      InRange("spec.training.cross_entropy_weight", training.cross_entropy_weight(), 0, 1, true, "0 to 1"));
  RETURN_IF_ERROR(InRange("spec.training.weight_decay", training.weight_decay(), 0, 1, true, "0 to 1"));
  if (training.seed() > kSeedMax) {
    return InvalidField("spec.training.seed", std::to_string(training.seed()), "0 to 9007199254740991");
  }
  RETURN_IF_ERROR(InRange("spec.training.threads", int64_t{training.threads()}, 0, 1024));
  RETURN_IF_ERROR(InRange("spec.training.data_ranks", int64_t{training.data_ranks()}, 0, student::kRanksMax));
  RETURN_IF_ERROR(
      InRange("spec.training.expert_ranks", int64_t{training.expert_ranks()}, 0, student::kRanksMax));
  RETURN_IF_ERROR(InRange("spec.training.prediction_layers", int64_t{training.prediction_layers()}, 0,
                          student::kPredictionLayersMax));
  if (training.prediction_layers() > 0) {
    RETURN_IF_ERROR(InRange("spec.training.prediction_loss_weight", training.prediction_loss_weight(), 1e-3,
                            1, true, "0.001 to 1"));
  } else if (training.prediction_loss_weight() != 0) {
    return InvalidField("spec.training.prediction_loss_weight",
                        std::to_string(training.prediction_loss_weight()),
                        "nothing, since prediction_layers is 0");
  }
  return InRange("spec.training.checkpoint_every", int64_t{training.checkpoint_every()}, 0, training.steps());
}

// What a layout of ranks asks of the shape and of the rows of a step.
absl::Status ValidateRanks(const v1::JobSpec& spec) {
  const v1::TrainingSpec& training = spec.training();
  const student::ParallelLayout layout = {std::max(1, training.data_ranks()),
                                          std::max(1, training.expert_ranks())};
  const student::ModelConfig shape = spec.student().shape() == "unit"   ? student::UnitConfig()
                                     : spec.student().shape() == "nano" ? student::NanoConfig()
                                                                        : student::SmallConfig();
  const std::string problem = student::Validate(layout, layout.world(), shape.experts,
                                                training.batch_tokens() / training.sequence_length());
  if (problem.empty()) return absl::OkStatus();
  return services::WithReason(
      absl::InvalidArgumentError("spec.training.data_ranks and expert_ranks: " + problem), INVALID_FIELD,
      {{"field", "spec.training.data_ranks"}});
}

bool IsLabelText(std::string_view text) {
  return text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
         });
}

absl::Status ValidateLabels(const std::string& field,
                            const google::protobuf::Map<std::string, std::string>& labels) {
  RETURN_IF_ERROR(InRange(field, static_cast<int64_t>(labels.size()), 0, kLabelsMax));
  for (const auto& [key, value] : labels) {
    if (key.empty() || key[0] < 'a' || key[0] > 'z' || !IsLabelText(key))
      return InvalidField(field, key, "keys [a-z][a-z0-9_-]{0,62}");
    if (!IsLabelText(value)) return InvalidField(field + "." + key, value, "[a-z0-9_-]{0,63}");
  }
  return absl::OkStatus();
}

bool IsSha256(std::string_view hex) {
  return hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

absl::Status Matches(std::string_view field, const std::string& value, std::string_view pattern) {
  return services::ParseResourceName(field, value, pattern).status();
}

template <class Request>
absl::Status ValidateVerb(const Request& request) {
  RETURN_IF_ERROR(Matches("name", request.name(), "projects/*/jobs/*"));
  return ValidateRequestId(request.request_id());
}

}  // namespace

absl::Status ValidateRequestId(std::string_view request_id) {
  if (request_id.empty() || ledger::IsUuid(request_id)) return absl::OkStatus();
  return InvalidField("request_id", request_id, "a UUID in lower case, or nothing");
}

absl::Status ValidateSampling(std::string_view field, const teacher::v1::Sampling& sampling) {
  const std::string prefix = std::string(field) + ".";
  RETURN_IF_ERROR(InRange(prefix + "temperature", sampling.temperature(), 0, 2, true, "0 to 2"));
  RETURN_IF_ERROR(InRange(prefix + "top_p", sampling.top_p(), 0, 1, false, "above 0, at most 1"));
  if (sampling.seed() > kSeedMax) {
    return InvalidField(prefix + "seed", std::to_string(sampling.seed()), "0 to 9007199254740991");
  }
  RETURN_IF_ERROR(InRange(prefix + "max_tokens", int64_t{sampling.max_tokens()}, 1, 8192));
  RETURN_IF_ERROR(InRange(prefix + "top_logprobs", int64_t{sampling.top_logprobs()}, 0, 64));
  RETURN_IF_ERROR(InRange(prefix + "stop", int64_t{sampling.stop_size()}, 0, kStopsMax));
  for (int i = 0; i < sampling.stop_size(); ++i) {
    const std::string stop = prefix + "stop[" + std::to_string(i) + "]";
    if (sampling.stop(i).empty()) return InvalidField(stop, "", "1 to 64 bytes");
    RETURN_IF_ERROR(NotLonger(stop, sampling.stop(i), kStopBytesMax));
  }
  return absl::OkStatus();
}

absl::Status ValidateSpec(const v1::JobSpec& spec) {
  if (const size_t bytes = spec.ByteSizeLong(); bytes > kSpecBytesMax) {
    return InvalidField("spec", std::to_string(bytes) + " bytes", "at most 3145728 bytes");
  }
  RETURN_IF_ERROR(NotLonger("spec.display_name", spec.display_name(), kDisplayNameBytesMax));
  if (!services::IsResourceId(spec.teacher())) {
    return InvalidField("spec.teacher", spec.teacher(),
                        "the id of a teacher, [a-z]([a-z0-9-]{0,61}[a-z0-9])?");
  }
  if (!spec.has_purpose()) return InvalidField("spec.purpose", "nothing", "what the student is for");
  RETURN_IF_ERROR(ValidatePurpose(spec.purpose()));
  RETURN_IF_ERROR(NotLonger("spec.prompt_licence", spec.prompt_licence(), kListedBytesMax));
  RETURN_IF_ERROR(InRange("spec.authorisations", int64_t{spec.authorisations_size()}, 0, kAuthorisationsMax));
  for (const std::string& id : spec.authorisations()) {
    if (id.empty()) return InvalidField("spec.authorisations", "", "ids that are not empty");
    RETURN_IF_ERROR(NotLonger("spec.authorisations", id, kListedBytesMax));
  }
  if (!spec.prompts_file().empty()) {
    return InvalidField("spec.prompts_file", spec.prompts_file(),
                        "nothing: the client reads the file into prompts");
  }
  if (!spec.has_sampling()) return InvalidField("spec.sampling", "nothing", "how the teacher samples");
  RETURN_IF_ERROR(ValidateSampling("spec.sampling", spec.sampling()));
  RETURN_IF_ERROR(InRange("spec.concurrency", int64_t{spec.concurrency()}, 0, kConcurrencyMax));
  if (!spec.extract_only()) {
    if (!spec.has_student()) return InvalidField("spec.student", "nothing", "a student, or extract_only");
    if (!spec.has_training())
      return InvalidField("spec.training", "nothing", "how to train, or extract_only");
  }
  if (spec.has_student()) RETURN_IF_ERROR(ValidateStudent(spec.student()));
  if (spec.has_training()) RETURN_IF_ERROR(ValidateTraining(spec.training()));
  if (spec.has_student() && spec.has_training()) RETURN_IF_ERROR(ValidateRanks(spec));
  if (spec.has_student() && spec.purpose().has_name() && spec.purpose().name() != spec.student().name()) {
    return InvalidField("spec.purpose.name", spec.purpose().name(), "nothing, or the name of spec.student");
  }
  return ValidatePrompts(spec);
}

absl::Status Validate(const v1::CreateJobRequest& request) {
  RETURN_IF_ERROR(Matches("parent", request.parent(), "projects/*"));
  if (!request.job_id().empty() && (!services::IsResourceId(request.job_id()) || request.job_id() == "ask")) {
    return InvalidField("job_id", request.job_id(),
                        "[a-z]([a-z0-9-]{0,61}[a-z0-9])?, and not 'ask', or nothing");
  }
  RETURN_IF_ERROR(ValidateRequestId(request.request_id()));
  RETURN_IF_ERROR(ValidateLabels("labels", request.labels()));
  if (!request.has_spec()) return InvalidField("spec", "nothing", "a job");
  return ValidateSpec(request.spec());
}

absl::Status Validate(const v1::GetJobRequest& request) {
  return Matches("name", request.name(), "projects/*/jobs/*");
}

absl::Status Validate(const v1::ListJobsRequest& request) {
  RETURN_IF_ERROR(Matches("parent", request.parent(), "projects/*"));
  return services::PageSize(request.page_size()).status();
}

absl::Status Validate(const v1::UpdateJobRequest& request) {
  RETURN_IF_ERROR(Matches("job.name", request.job().name(), "projects/*/jobs/*"));
  RETURN_IF_ERROR(ValidateRequestId(request.request_id()));
  for (const std::string& path : request.update_mask().paths()) {
    if (path != "display_name" && path != "labels" && path != "*")
      return InvalidField("update_mask", path, "display_name, labels or *");
    if (path == "*" && request.update_mask().paths_size() != 1)
      return InvalidField("update_mask", "*", "* alone");
  }
  RETURN_IF_ERROR(NotLonger("job.display_name", request.job().display_name(), kDisplayNameBytesMax));
  return ValidateLabels("job.labels", request.job().labels());
}

absl::Status Validate(const v1::DeleteJobRequest& request) {
  return ValidateVerb(request);
}

absl::Status Validate(const v1::CancelJobRequest& request) {
  return ValidateVerb(request);
}

absl::Status Validate(const v1::PauseJobRequest& request) {
  return ValidateVerb(request);
}

absl::Status Validate(const v1::ResumeJobRequest& request) {
  return ValidateVerb(request);
}

absl::Status Validate(const v1::RetryJobRequest& request) {
  return ValidateVerb(request);
}

absl::Status ValidateReview(std::string_view name, std::string_view reason, std::string_view request_id) {
  RETURN_IF_ERROR(Matches("name", std::string(name), "projects/*/jobs/*/samples/*"));
  RETURN_IF_ERROR(ValidateRequestId(request_id));
  if (reason.empty() || reason.size() > kReasonBytesMax)
    return InvalidField("reason", std::to_string(reason.size()) + " bytes", "1 to 1024 bytes");
  return absl::OkStatus();
}

absl::Status Validate(const v1::GetJobLogRequest& request) {
  RETURN_IF_ERROR(Matches("name", request.name(), "projects/*/jobs/*"));
  return services::PageSize(request.page_size()).status();
}

absl::Status Validate(const v1::WatchJobLogRequest& request) {
  return Matches("name", request.name(), "projects/*/jobs/*");
}

absl::Status Validate(const v1::WatchJobRequest& request) {
  return Matches("name", request.name(), "projects/*/jobs/*");
}

absl::Status Validate(const v1::AskTeacherRequest& request) {
  RETURN_IF_ERROR(Matches("teacher", request.teacher(), "projects/*/teachers/*"));
  RETURN_IF_ERROR(ValidateRequestId(request.request_id()));
  RETURN_IF_ERROR(InRange("messages", int64_t{request.messages_size()}, 1, kMessagesMax));
  size_t bytes = 0;
  for (int i = 0; i < request.messages_size(); ++i) {
    const std::string& role = request.messages(i).role();
    if (role != "system" && role != "user" && role != "assistant") {
      return InvalidField("messages[" + std::to_string(i) + "].role", role, "system, user or assistant");
    }
    bytes += request.messages(i).content().size();
  }
  if (bytes > kMessageBytesMax) {
    return InvalidField("messages", std::to_string(bytes) + " bytes", "at most 262144 bytes of text");
  }
  if (!request.has_sampling()) return InvalidField("sampling", "nothing", "how the teacher samples");
  return ValidateSampling("sampling", request.sampling());
}

absl::Status Validate(const v1::ExchangeRendezvousRequest& request) {
  RETURN_IF_ERROR(Matches("job", request.job(), "projects/*/jobs/*"));
  if (!ledger::IsUuid(request.job_uid()))
    return InvalidField("job_uid", request.job_uid(), "a UUID in lower case");
  if (request.run() != "logits" && request.run() != "text_only") {
    return InvalidField("run", request.run(), "logits or text_only");
  }
  RETURN_IF_ERROR(InRange("data_ranks", int64_t{request.data_ranks()}, 1, student::kRanksMax));
  RETURN_IF_ERROR(InRange("expert_ranks", int64_t{request.expert_ranks()}, 1, student::kRanksMax));
  const int64_t world = int64_t{request.data_ranks()} * request.expert_ranks();
  RETURN_IF_ERROR(InRange("data_ranks * expert_ranks", world, 2, student::kRanksMax));
  RETURN_IF_ERROR(InRange("rank", int64_t{request.rank()}, 0, world - 1));
  if (!IsSha256(request.binary_sha256())) {
    return InvalidField("binary_sha256", request.binary_sha256(), "64 lower-case hex digits");
  }
  if (!IsSha256(request.manifest_sha256())) {
    return InvalidField("manifest_sha256", request.manifest_sha256(), "64 lower-case hex digits");
  }
  if (request.transport() != "nccl" && request.transport() != "shared_memory") {
    return InvalidField("transport", request.transport(), "nccl or shared_memory");
  }
  const int64_t payload = static_cast<int64_t>(request.payload().size());
  if (request.rank() == 0 ? payload < 1 || payload > kRendezvousPayloadBytesMax : payload != 0) {
    return InvalidField("payload", std::to_string(payload) + " bytes",
                        request.rank() == 0 ? "1 to 4096 bytes" : "nothing from ranks other than 0");
  }
  if (request.patience().nanos() < 0 || request.patience().nanos() > 999'999'999) {
    return InvalidField("patience.nanos", std::to_string(request.patience().nanos()), "0 to 999999999");
  }
  return InRange("patience", request.patience().seconds(), 1, 600);
}

absl::Status Validate(const v1::DownloadStudentRequest& request) {
  return Matches("name", request.name(), "projects/*/students/@");
}

}  // namespace retort::jobs
