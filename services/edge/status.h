// The one mapping between absl::Status inside the libraries and grpc::Status on the wire (AIP-193).
//
// A library returns absl::Status with a canonical code. A service may attach the reason that programs act on:
//
//   return ToGrpcStatus(WithReason(absl::FailedPreconditionError("..."), POLICY_DENIED, {{"rule", rule}}));
//
// On the wire every error carries google.rpc.Status in grpc-status-details-bin with exactly one ErrorInfo of
// domain retort.dev; a status without a reason gets the one that fits its code. FromGrpcStatus is the
// inverse: code, message, reason and metadata survive a hop, so an error of the ledger that passes through
// jobs still names its cause.
//
// Functions are pure and safe on any thread.
#ifndef SERVICES_EDGE_STATUS_H_
#define SERVICES_EDGE_STATUS_H_

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "retort/error_reason.pb.h"

namespace google::rpc {
class Status;
}
namespace grpc {
class Status;
}

namespace retort::services {

inline constexpr std::string_view kErrorDomain = "retort.dev";

using ErrorMetadata = std::map<std::string, std::string>;

// `status` with the reason attached; OK stays OK. A reason that is already there is replaced.
absl::Status WithReason(absl::Status status, ErrorReason reason, const ErrorMetadata& metadata = {});

// InvalidArgument with reason INVALID_FIELD: "field: saw <seen>, wanted <wanted>". `seen` is cut at 64 bytes;
// pass no prompt, completion or secret.
absl::Status InvalidField(std::string_view field, std::string_view seen, std::string_view wanted);

// `status` with a google.rpc.RetryInfo: not before `wait` has passed. OK stays OK.
absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds wait);

// What WithRetryAfter attached, here or at the other end of a hop; nothing when it is missing or not between
// zero and a day.
std::optional<std::chrono::milliseconds> RetryAfterOf(const absl::Status& status);

// The attached reason, or ERROR_REASON_UNSPECIFIED.
ErrorReason ReasonOf(const absl::Status& status);

// The metadata of the attached reason; empty without one.
ErrorMetadata MetadataOf(const absl::Status& status);

grpc::Status ToGrpcStatus(const absl::Status& status);
// The same as a message, for errors that are stored or listed; the status is not OK.
google::rpc::Status ToRpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace retort::services

#endif  // SERVICES_EDGE_STATUS_H_
