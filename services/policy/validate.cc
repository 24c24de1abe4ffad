#include "services/policy/validate.h"

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/uuid.h"
#include "policy/facts.h"
#include "services/edge/page_token.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

absl::Status WithInvalidField(const absl::Status& status) {
  return status.ok() ? status : WithReason(status, INVALID_FIELD);
}

// The checks that DecideJob and PreviewJob share; the project.
template <class Request>
absl::StatusOr<std::string> ValidateJob(const Request& request) {
  auto ids = ParseResourceName("job", request.job(), "projects/*/jobs/*");
  if (!ids.ok()) return ids.status();
  if (!request.has_facts()) return InvalidField("facts", "nothing", "facts");
  if (request.facts().has_screening())
    return InvalidField("facts.screening", "a value", "nothing in a preflight");
  if (request.facts().has_decided_time()) {
    return InvalidField("facts.decided_time", "a value", "nothing: the service sets it");
  }
  if (auto s = policy::ValidateFacts(request.facts()); !s.ok()) return WithInvalidField(s);
  return "projects/" + ids->front();
}

}  // namespace

absl::StatusOr<ledger::CaptureStatement> Validate(const policy::v1::DecideSampleRequest& request) {
  auto capture = ledger::CaptureStatement::Parse(request.capture());
  if (!capture.ok()) return WithInvalidField(capture.status());
  constexpr size_t kSaltBytes = 32;
  if (request.salt().size() != kSaltBytes) {
    return InvalidField("salt", std::to_string(request.salt().size()) + " bytes", "32 bytes");
  }
  if (request.payload().size() > kPayloadBytesMax) {
    return InvalidField("payload", std::to_string(request.payload().size()) + " bytes",
                        "at most " + std::to_string(kPayloadBytesMax));
  }
  const std::string digest = ledger::HexEncode(ledger::SaltedDigest(request.salt(), request.payload()));
  if (digest != capture->payload_digest) {
    return InvalidField("payload", digest,
                        "a payload with the capture's salted digest " + capture->payload_digest);
  }
  if (!request.has_facts()) return InvalidField("facts", "nothing", "the job's facts");
  if (auto s = policy::ValidateFacts(request.facts()); !s.ok()) return WithInvalidField(s);
  return capture;
}

absl::StatusOr<std::string> Validate(const policy::v1::GetPolicyRequest& request) {
  auto ids = ParseResourceName("name", request.name(), "projects/*/policies/@");
  if (!ids.ok()) return ids.status();
  return ids->back();
}

absl::Status Validate(const policy::v1::ListPoliciesRequest& request) {
  if (auto ids = ParseResourceName("parent", request.parent(), "projects/*"); !ids.ok()) return ids.status();
  return absl::OkStatus();  // the rest is ParseListQuery's
}

absl::StatusOr<std::string> Validate(const policy::v1::DecideJobRequest& request) {
  if (request.job_uid().empty() || request.job_uid().size() > kJobUidBytesMax) {
    return InvalidField("job_uid", request.job_uid(), "the job's uid");
  }
  return ValidateJob(request);
}

absl::StatusOr<std::string> Validate(const policy::v1::PreviewJobRequest& request) {
  if (request.prompts_size() > kPreviewPromptsMax)
    return InvalidField("prompts", std::to_string(request.prompts_size()), "at most 10000");
  return ValidateJob(request);
}

absl::StatusOr<ledger::DecisionStatement> Validate(const policy::v1::SignReviewRequest& request) {
  if (auto ids = ParseResourceName("parent", request.parent(), "projects/*"); !ids.ok()) return ids.status();
  if (request.subject_entry() < 0)
    return InvalidField("subject_entry", std::to_string(request.subject_entry()), "0 or more");
  if (request.verdict() != "approve" && request.verdict() != "reject")
    return InvalidField("verdict", request.verdict(), "approve or reject");
  for (const auto& [field, text] :
       {std::pair<const char*, const std::string&>{"reviewer", request.reviewer()},
        {"reason", request.reason()}}) {
    if (text.empty() || text.size() > kReviewTextBytesMax)
      return InvalidField(field, std::to_string(text.size()) + " bytes", "1 to 1024 bytes");
  }
  if (!ledger::IsUuid(request.request_id()))
    return InvalidField("request_id", request.request_id(), "a UUID in lower case");
  auto decision = ledger::DecisionStatement::Parse(request.decision());
  if (!decision.ok()) return WithInvalidField(decision.status());
  if (decision->project != request.parent())
    return InvalidField("decision", "one of another project", "a decision of " + request.parent());
  return decision;
}

absl::Status Validate(const policy::v1::CreatePolicyRevisionRequest& request) {
  if (auto ids = ParseResourceName("parent", request.parent(), "projects/*/policies/@"); !ids.ok())
    return ids.status();
  const size_t bytes = request.policy_revision().yaml().size();
  if (bytes == 0 || bytes > kRevisionBytesMax)
    return InvalidField("policy_revision.yaml", std::to_string(bytes) + " bytes", "1 byte to 1 MiB");
  if (!request.request_id().empty() && !ledger::IsUuid(request.request_id()))
    return InvalidField("request_id", request.request_id(), "a UUID in lower case, or nothing");
  return absl::OkStatus();
}

absl::Status Validate(const policy::v1::ActivatePolicyRevisionRequest& request) {
  auto ids = ParseResourceName("name", request.name(), "projects/*/policies/@/revisions/*");
  if (!ids.ok()) return ids.status();
  if (!request.request_id().empty() && !ledger::IsUuid(request.request_id()))
    return InvalidField("request_id", request.request_id(), "a UUID in lower case, or nothing");
  return absl::OkStatus();
}

}  // namespace retort::services
