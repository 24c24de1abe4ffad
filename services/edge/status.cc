#include "services/edge/status.h"

#include <grpcpp/support/status.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace retort::services {
namespace {

constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";
constexpr char kBadRequestUrl[] = "type.googleapis.com/google.rpc.BadRequest";
constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";
constexpr std::chrono::milliseconds kRetryAfterMax = std::chrono::hours(24);
constexpr size_t kSeenBytesMax = 64;

// The reason of a status that names none: what its code says about it.
ErrorReason ReasonOfCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return INVALID_FIELD;
    case absl::StatusCode::kNotFound:
      return NOT_FOUND;
    case absl::StatusCode::kAlreadyExists:
      return ALREADY_EXISTS;
    case absl::StatusCode::kResourceExhausted:
      return LIMIT_EXCEEDED;
    case absl::StatusCode::kDataLoss:
      return LEDGER_CORRUPT;
    case absl::StatusCode::kUnavailable:
      return PEER_UNAVAILABLE;
    case absl::StatusCode::kDeadlineExceeded:
      return DEADLINE_EXCEEDED;
    case absl::StatusCode::kCancelled:
      return CANCELLED;
    case absl::StatusCode::kFailedPrecondition:
      return FAILED_PRECONDITION;
    case absl::StatusCode::kPermissionDenied:
      return PERMISSION_DENIED;
    case absl::StatusCode::kUnauthenticated:
      return UNAUTHENTICATED;
    default:
      return INTERNAL;
  }
}

bool ReadErrorInfo(const absl::Status& status, google::rpc::ErrorInfo* info) {
  const auto payload = status.GetPayload(kErrorInfoUrl);
  return payload.has_value() && info->ParseFromString(std::string(*payload));
}

}  // namespace

absl::Status WithReason(absl::Status status, ErrorReason reason, const ErrorMetadata& metadata) {
  if (status.ok()) return status;
  google::rpc::ErrorInfo info;
  info.set_reason(ErrorReason_Name(reason));
  info.set_domain(std::string(kErrorDomain));
  for (const auto& [key, value] : metadata) (*info.mutable_metadata())[key] = value;
  status.SetPayload(kErrorInfoUrl, absl::Cord(info.SerializeAsString()));
  return status;
}

absl::Status InvalidField(std::string_view field, std::string_view seen, std::string_view wanted) {
  const std::string shown(seen.substr(0, kSeenBytesMax));
  const std::string description = "saw '" + shown + "', wanted " + std::string(wanted);
  absl::Status status = WithReason(absl::InvalidArgumentError(std::string(field) + ": " + description),
                                   INVALID_FIELD, {{"field", std::string(field)}, {"seen", shown}});
  google::rpc::BadRequest bad;
  auto* violation = bad.add_field_violations();
  violation->set_field(std::string(field));
  violation->set_description(description);
  status.SetPayload(kBadRequestUrl, absl::Cord(bad.SerializeAsString()));
  return status;
}

absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds wait) {
  if (status.ok()) return status;
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(wait.count() / 1000);
  info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(wait.count() % 1000) * 1'000'000);
  status.SetPayload(kRetryInfoUrl, absl::Cord(info.SerializeAsString()));
  return status;
}

std::optional<std::chrono::milliseconds> RetryAfterOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryInfoUrl);
  google::rpc::RetryInfo info;
  if (!payload.has_value() || !info.ParseFromString(std::string(*payload))) return std::nullopt;
  const auto& delay = info.retry_delay();
  if (delay.seconds() < 0 || delay.nanos() < 0 || delay.seconds() >= kRetryAfterMax / std::chrono::seconds(1))
    return std::nullopt;
  return std::chrono::milliseconds(delay.seconds() * 1000 + (delay.nanos() + 999'999) / 1'000'000);
}

ErrorReason ReasonOf(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  ErrorReason reason = ERROR_REASON_UNSPECIFIED;
  if (!ReadErrorInfo(status, &info) || !ErrorReason_Parse(info.reason(), &reason))
    return ERROR_REASON_UNSPECIFIED;
  return reason;
}

ErrorMetadata MetadataOf(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  if (!ReadErrorInfo(status, &info)) return {};
  return {info.metadata().begin(), info.metadata().end()};
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  absl::Status detailed = status;
  if (!detailed.GetPayload(kErrorInfoUrl).has_value())
    detailed = WithReason(detailed, ReasonOfCode(status.code()));
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  detailed.ForEachPayload([&details](absl::string_view url, const absl::Cord& payload) {
    auto* any = details.add_details();
    any->set_type_url(std::string(url));
    any->set_value(std::string(payload));
  });
  return details;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      ToRpcStatus(status).SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const auto& any : details.details()) result.SetPayload(any.type_url(), absl::Cord(any.value()));
  }
  return result;
}

}  // namespace retort::services
