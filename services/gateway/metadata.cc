#include "services/gateway/metadata.h"

#include <algorithm>
#include <iterator>

#include "ledger/base64.h"
#include "services/identity/forwarded_identity.h"

namespace retort::services::gateway {
namespace {

// About the message, the connection or the client, and so not for the service; user-agent is gRPC's own.
constexpr std::string_view kNotForServices[] = {
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "dnt",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "access-control-request-method",
};

// What the gateway says itself, and what would change how a response is read or kept.
constexpr std::string_view kNotFromServices[] = {
    "cache-control",  "connection",   "content-encoding",
    "content-length", "content-type", "date",
    "keep-alive",     "set-cookie",   "te",
    "trailer",        "upgrade",      "transfer-encoding",
    "vary",
};

bool IsReserved(std::string_view name) {
  return name.starts_with("connect-") || name.starts_with("grpc-") || name.starts_with(':') ||
         name.starts_with("access-control-") || IsForwardingHeader(name);
}

// Header names of gRPC are fewer than those of HTTP.
bool IsMetadataName(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  });
}

bool IsPrintable(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](unsigned char c) { return c >= 0x20 && c <= 0x7e; });
}

template <size_t kSize>
bool IsAmong(const std::string_view (&names)[kSize], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The values of one "-bin" header: HTTP lets several be joined by commas, which base64 does not have.
absl::Status AddBinary(const std::string& name, std::string_view joined, Metadata& metadata) {
  for (size_t begin = 0; begin <= joined.size();) {
    const size_t end = std::min(joined.find(',', begin), joined.size());
    auto bytes = DecodeBase64(Trimmed(joined.substr(begin, end - begin)));
    if (!bytes.ok())
      return absl::InvalidArgumentError("header " + name + ": wanted base64, as its name ends in -bin");
    metadata.emplace_back(name, *std::move(bytes));
    begin = end + 1;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Metadata> ToMetadata(const Headers& headers) {
  Metadata metadata;
  for (const auto& [name, value] : headers) {
    if (IsAmong(kNotForServices, name) || name.starts_with("sec-") || IsReserved(name) ||
        !IsMetadataName(name))
      continue;
    if (name.ends_with("-bin")) {
      if (auto s = AddBinary(name, value, metadata); !s.ok()) return s;
      continue;
    }
    if (!IsPrintable(value))
      return absl::InvalidArgumentError("header " + name + ": holds bytes that are not printable ASCII");
    metadata.emplace_back(name, value);
  }
  return metadata;
}

Headers ToHeaders(const Metadata& metadata, std::string_view prefix) {
  Headers headers;
  for (const auto& [name, value] : metadata) {
    if (IsReserved(name) || !IsMetadataName(name)) continue;
    if (prefix.empty() && (IsAmong(kNotFromServices, name) || name.starts_with("trailer-"))) continue;
    const bool binary = name.ends_with("-bin");
    if (!binary && !IsPrintable(value)) continue;
    headers.emplace_back(std::string(prefix) + name, binary ? UnpaddedBase64(value) : value);
  }
  return headers;
}

std::string UnpaddedBase64(std::string_view bytes) {
  std::string text = ledger::Base64Encode(bytes);
  while (!text.empty() && text.back() == '=') text.pop_back();
  return text;
}

absl::StatusOr<std::string> DecodeBase64(std::string_view text) {
  std::string padded(text);
  if (padded.find('=') == std::string::npos) padded.append((4 - padded.size() % 4) % 4, '=');
  return ledger::Base64Decode(padded);
}

}  // namespace retort::services::gateway
