#include "services/identity/spiffe_id.h"

#include <algorithm>
#include <utility>

namespace retort::services {
namespace {

constexpr std::string_view kScheme = "spiffe://";
constexpr size_t kIdBytesMax = 2048;
constexpr size_t kTrustDomainBytesMax = 255;
constexpr size_t kShownBytesMax = 64;

bool IsDomainByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}
bool IsPathByte(char c) {
  return IsDomainByte(c) || (c >= 'A' && c <= 'Z');
}

bool IsSegment(std::string_view segment) {
  return !segment.empty() && segment != "." && segment != ".." &&
         std::all_of(segment.begin(), segment.end(), IsPathByte);
}

absl::Status Refuse(std::string_view text, std::string_view wanted) {
  std::string shown;
  for (const char c : text.substr(0, kShownBytesMax)) shown += c >= 0x20 && c < 0x7F ? c : '?';
  return absl::InvalidArgumentError("identity: saw '" + shown + "', wanted " + std::string(wanted));
}

}  // namespace

bool IsTrustDomain(std::string_view text) {
  return !text.empty() && text.size() <= kTrustDomainBytesMax &&
         std::all_of(text.begin(), text.end(), IsDomainByte);
}

absl::StatusOr<SpiffeId> SpiffeId::Parse(std::string_view text) {
  static_assert(kScheme.size() == kSchemeBytes);
  if (text.size() > kIdBytesMax) return Refuse(text, "at most 2048 bytes");
  if (!text.starts_with(kScheme)) return Refuse(text, "spiffe://<trust domain>/<path>");
  const std::string_view rest = text.substr(kScheme.size());
  const size_t slash = rest.find('/');
  if (!IsTrustDomain(rest.substr(0, slash))) return Refuse(text, "a trust domain of a-z 0-9 . - _");
  if (slash == std::string_view::npos) return Refuse(text, "a path after the trust domain");
  for (size_t begin = slash + 1;;) {
    const size_t end = std::min(rest.find('/', begin), rest.size());
    if (!IsSegment(rest.substr(begin, end - begin))) {
      return Refuse(text, "a path of segments of A-Z a-z 0-9 . - _, none of them empty, . or ..");
    }
    if (end == rest.size()) break;
    begin = end + 1;
  }
  return SpiffeId(std::string(text), slash);
}

absl::StatusOr<SpiffeId> SpiffeId::FromCertificateUris(const std::vector<std::string>& uris) {
  if (uris.size() != 1) {
    return absl::InvalidArgumentError("the certificate has " + std::to_string(uris.size()) +
                                      " URIs among its alternative names; wanted one, a SPIFFE id");
  }
  return Parse(uris.front());
}

}  // namespace retort::services
