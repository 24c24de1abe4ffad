#include "services/gateway/query.h"

#include <algorithm>
#include <iterator>

#include "services/gateway/metadata.h"

namespace retort::services::gateway {
namespace {

constexpr std::string_view kOwn[] = {"connect", "encoding", "message", "base64", "compression"};

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

absl::StatusOr<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded.push_back(text[i] == '+' ? ' ' : text[i]);
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0)
      return absl::InvalidArgumentError("query: wanted two hexadecimal digits after each percent sign");
    decoded.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return decoded;
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseQuery(std::string_view query) {
  std::map<std::string, std::string> parameters;
  for (size_t begin = 0; begin < query.size();) {
    const size_t end = std::min(query.find('&', begin), query.size());
    const std::string_view pair = query.substr(begin, end - begin);
    begin = end + 1;
    if (pair.empty()) continue;
    const size_t equals = std::min(pair.find('='), pair.size());
    auto name = PercentDecode(pair.substr(0, equals));
    if (!name.ok()) return name.status();
    auto value = PercentDecode(pair.substr(std::min(equals + 1, pair.size())));
    if (!value.ok()) return value.status();
    if (std::find(std::begin(kOwn), std::end(kOwn), *name) != std::end(kOwn) && parameters.contains(*name))
      return absl::InvalidArgumentError("query: the parameter " + *name + " is there twice");
    parameters[*name] = *std::move(value);
  }
  return parameters;
}

absl::StatusOr<std::string> DecodeUrlBase64(std::string_view text) {
  if (text.find_first_of("+/") != std::string_view::npos)
    return absl::InvalidArgumentError("query: message is not of the URL-safe base64 alphabet");
  std::string standard(text);
  std::replace(standard.begin(), standard.end(), '-', '+');
  std::replace(standard.begin(), standard.end(), '_', '/');
  auto bytes = DecodeBase64(standard);
  if (!bytes.ok())
    return absl::InvalidArgumentError("query: message is not base64, which base64=1 announces");
  return bytes;
}

}  // namespace retort::services::gateway
