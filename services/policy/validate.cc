#include "services/policy/validate.h"

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "policy/facts.h"
#include "services/edge/page_token.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

absl::Status WithInvalidField(const absl::Status& status) {
  return status.ok() ? status : WithReason(status, INVALID_FIELD);
}

}  // namespace

absl::StatusOr<std::string> Validate(const policy::v1::DecideJobRequest& request) {
  auto ids = ParseResourceName("job", request.job(), "projects/*/jobs/*");
  if (!ids.ok()) return ids.status();
  if (request.job_uid().empty() || request.job_uid().size() > kJobUidBytesMax) {
    return InvalidField("job_uid", request.job_uid(), "the job's uid");
  }
  if (!request.has_facts()) return InvalidField("facts", "nothing", "facts");
  if (request.facts().has_screening())
    return InvalidField("facts.screening", "a value", "nothing in a preflight");
  if (request.facts().has_decided_time()) {
    return InvalidField("facts.decided_time", "a value", "nothing: the service sets it");
  }
  if (auto s = policy::ValidateFacts(request.facts()); !s.ok()) return WithInvalidField(s);
  return "projects/" + ids->front();
}

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
  return PageSize(request.page_size()).status();
}

}  // namespace retort::services
