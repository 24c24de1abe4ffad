#include "services/gateway/browser_rules.h"

#include <algorithm>

namespace retort::services::gateway {
namespace {

constexpr char kAllowedHeaders[] =
    "Content-Type, Content-Encoding, Connect-Protocol-Version, Connect-Timeout-Ms, Connect-Content-Encoding, "
    "Connect-Accept-Encoding, Authorization, Traceparent, Tracestate";
constexpr char kPreflightSeconds[] = "7200";

Headers Allowed(const Headers& request) {
  const std::string origin(ValueOf(request, "origin"));
  if (origin.empty()) return {};
  return {{"access-control-allow-origin", origin},
          {"access-control-allow-credentials", "true"},
          {"vary", "Origin"}};
}

}  // namespace

bool IsOrigin(std::string_view text) {
  const size_t scheme = text.starts_with("https://") ? 8 : text.starts_with("http://") ? 7 : 0;
  if (scheme == 0 || text.size() > 255) return false;
  std::string_view host = text.substr(scheme);
  const size_t colon = host.rfind(':');
  if (colon != std::string_view::npos && !host.ends_with(']')) {
    const std::string_view port = host.substr(colon + 1);
    if (port.empty() || port.size() > 5 || port.front() == '0' ||
        port.find_first_not_of("0123456789") != std::string_view::npos ||
        port == (scheme == 8 ? "443" : "80")) {
      return false;
    }
    host = host.substr(0, colon);
  }
  if (host.starts_with('[') && host.ends_with(']')) {
    return host.size() > 2 &&
           host.substr(1, host.size() - 2).find_first_not_of("0123456789abcdef:.") == std::string_view::npos;
  }
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
  });
}

bool OriginAllowed(const Headers& headers, const std::set<std::string>& origins) {
  const size_t count = CountOf(headers, "origin");
  return count == 0 || (count == 1 && origins.contains(std::string(ValueOf(headers, "origin"))));
}

bool IsPreflight(const RequestHead& head) {
  return head.method == "OPTIONS" && CountOf(head.headers, "origin") == 1 &&
         CountOf(head.headers, "access-control-request-method") == 1;
}

Headers PreflightHeaders(const Headers& request) {
  Headers headers = Allowed(request);
  headers.emplace_back("access-control-allow-methods", "GET, POST");
  headers.emplace_back("access-control-allow-headers", kAllowedHeaders);
  headers.emplace_back("access-control-max-age", kPreflightSeconds);
  return headers;
}

Headers CorsHeaders(const Headers& request, const Headers& response) {
  Headers headers = Allowed(request);
  if (headers.empty()) return headers;
  std::string exposed;
  for (const auto& [name, value] : response) {
    if (exposed.find(name) == std::string::npos) exposed += (exposed.empty() ? "" : ", ") + name;
  }
  if (!exposed.empty()) headers.emplace_back("access-control-expose-headers", exposed);
  return headers;
}

bool IsLoopbackHost(std::string_view host, int port) {
  const std::string suffix = ":" + std::to_string(port);
  std::string_view name = host;
  if (host.ends_with(suffix)) {
    name = host.substr(0, host.size() - suffix.size());
  } else if (port != 80) {
    return false;
  }
  return name == "localhost" || name == "127.0.0.1" || name == "[::1]";
}

}  // namespace retort::services::gateway
