#include "services/kubernetes/api_error.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace retort::kubernetes {
namespace {

constexpr size_t kServerMessageBytesMax = 1000;
constexpr size_t kServerReasonBytesMax = 64;
constexpr int64_t kPauseSecondsMax = 3600;
constexpr char kPausePayload[] = "retort.dev/retry-after-seconds";

absl::StatusCode CodeOf(int http_status, const std::string& reason) {
  switch (http_status) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 409:
      return reason == "AlreadyExists" ? absl::StatusCode::kAlreadyExists : absl::StatusCode::kAborted;
    case 410:
      return absl::StatusCode::kOutOfRange;
    case 400:
    case 413:
    case 415:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 408:
    case 429:
      return absl::StatusCode::kUnavailable;
    default:
      return http_status >= 500 && http_status < 600 ? absl::StatusCode::kUnavailable
                                                     : absl::StatusCode::kUnknown;
  }
}

std::string StringMember(const nlohmann::json& object, const char* name) {
  const auto member = object.find(name);
  return member != object.end() && member->is_string() ? member->get<std::string>() : std::string();
}

}  // namespace

std::string Readable(std::string_view text, size_t bytes_max) {
  std::string out(text.substr(0, bytes_max));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  // A character of several bytes is not cut in the middle.
  if (text.size() > bytes_max) {
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80) out.pop_back();
    if (!out.empty() && static_cast<unsigned char>(out.back()) >= 0xC0) out.pop_back();
    out += "...";
  }
  return out;
}

absl::Status ErrorOf(std::string_view did, int http_status, std::string_view body,
                     std::optional<std::chrono::seconds> retry_after) {
  std::string reason, message;
  const auto answer = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (answer.is_object()) {
    reason = Readable(StringMember(answer, "reason"), kServerReasonBytesMax);
    message = Readable(StringMember(answer, "message"), kServerMessageBytesMax);
    const auto details = answer.find("details");
    if (!retry_after && details != answer.end() && details->is_object()) {
      const auto pause = details->find("retryAfterSeconds");
      if (pause != details->end() && pause->is_number_unsigned() && *pause <= kPauseSecondsMax) {
        retry_after = std::chrono::seconds(pause->get<int64_t>());
      }
    }
  }
  absl::Status status(CodeOf(http_status, reason),
                      absl::StrCat("the API server refused to ", std::string(did), ": HTTP ", http_status,
                                   reason.empty() ? "" : " ", reason, message.empty() ? "" : ": ", message));
  if (retry_after) status.SetPayload(kPausePayload, absl::Cord(absl::StrCat(retry_after->count())));
  return status;
}

std::optional<std::chrono::seconds> RetryAfter(const absl::Status& status) {
  const auto payload = status.GetPayload(kPausePayload);
  int64_t seconds = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &seconds)) return std::nullopt;
  return std::chrono::seconds(seconds);
}

}  // namespace retort::kubernetes
