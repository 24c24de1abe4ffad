#include "services/edge/resource_name.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "services/edge/status.h"

namespace retort::services {
namespace {

bool IsLower(char c) {
  return c >= 'a' && c <= 'z';
}
bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

bool IsDecimal(std::string_view text) {
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value >= 0;
}

bool Matches(char wildcard, std::string_view segment) {
  switch (wildcard) {
    case '*':
      return IsResourceId(segment);
    case '@':
      return IsReleaseName(segment);
    default:
      return IsDecimal(segment);
  }
}

std::vector<std::string_view> Split(std::string_view text) {
  std::vector<std::string_view> segments;
  for (size_t begin = 0;;) {
    const size_t slash = text.find('/', begin);
    segments.push_back(text.substr(begin, slash - begin));
    if (slash == std::string_view::npos) return segments;
    begin = slash + 1;
  }
}

}  // namespace

bool IsResourceId(std::string_view id) {
  if (id.empty() || id.size() > 63 || !IsLower(id.front()) || id.back() == '-') return false;
  return std::all_of(id.begin(), id.end(), [](char c) { return IsLower(c) || IsDigit(c) || c == '-'; });
}

bool IsReleaseName(std::string_view name) {
  const auto alphanumeric = [](char c) { return IsLower(c) || IsDigit(c) || (c >= 'A' && c <= 'Z'); };
  if (name.empty() || name.size() > 96 || !alphanumeric(name.front())) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

absl::StatusOr<std::vector<std::string>> ParseResourceName(std::string_view field, std::string_view value,
                                                           std::string_view pattern) {
  const auto wanted = Split(pattern);
  const auto seen = Split(value.substr(0, 1024));
  std::vector<std::string> matched;
  bool ok = wanted.size() == seen.size();
  for (size_t i = 0; ok && i < wanted.size(); ++i) {
    if (wanted[i] == "*" || wanted[i] == "@" || wanted[i] == "#") {
      ok = Matches(wanted[i][0], seen[i]);
      matched.emplace_back(seen[i]);
    } else {
      ok = wanted[i] == seen[i];
    }
  }
  if (!ok) return InvalidField(field, value, std::string(pattern));
  return matched;
}

}  // namespace retort::services
