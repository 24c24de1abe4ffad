// Checks of requests to the policy service. Pure; each refusal is InvalidArgument with reason INVALID_FIELD
// and names the field, what was seen and what is wanted, never a text or a salt.
#ifndef SERVICES_POLICY_VALIDATE_H_
#define SERVICES_POLICY_VALIDATE_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/statement.h"
#include "retort/policy/v1/policy.pb.h"

namespace retort::services {

inline constexpr size_t kPayloadBytesMax = size_t{16} << 20;  // the server's message limit is the tighter one
inline constexpr size_t kJobUidBytesMax = 64;
inline constexpr int kPreviewPromptsMax = 10'000;
inline constexpr size_t kRevisionBytesMax = size_t{1} << 20;
inline constexpr size_t kReviewTextBytesMax = 1024;

// The job's project ("projects/{project}") when the name, the uid and the facts may be decided about.
absl::StatusOr<std::string> Validate(const policy::v1::DecideJobRequest& request);

// The capture, parsed, when payload and salt belong to it and the facts may be decided about.
absl::StatusOr<ledger::CaptureStatement> Validate(const policy::v1::DecideSampleRequest& request);

// The policy's id.
absl::StatusOr<std::string> Validate(const policy::v1::GetPolicyRequest& request);

absl::Status Validate(const policy::v1::ListPoliciesRequest& request);

// The project, as for DecideJob.
absl::StatusOr<std::string> Validate(const policy::v1::PreviewJobRequest& request);

// The decision, parsed.
absl::StatusOr<ledger::DecisionStatement> Validate(const policy::v1::SignReviewRequest& request);

absl::Status Validate(const policy::v1::CreatePolicyRevisionRequest& request);
absl::Status Validate(const policy::v1::ActivatePolicyRevisionRequest& request);

}  // namespace retort::services

#endif  // SERVICES_POLICY_VALIDATE_H_
