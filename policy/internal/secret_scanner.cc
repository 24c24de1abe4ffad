// Private keys, API keys and e-mail addresses: what is found by fixed marks in the text.
#include <algorithm>

#include "policy/internal/scan.h"

namespace retort::policy::internal {
namespace {

bool IsTokenChar(char c) {
  return IsAlnum(c) || c == '_' || c == '-';
}

bool AllOf(std::string_view text, bool (*is)(char)) {
  return std::all_of(text.begin(), text.end(), is);
}

bool IsUpperOrDigit(char c) {
  return IsUpper(c) || IsDigit(c);
}
bool IsAlnumOrUnderscore(char c) {
  return IsAlnum(c) || c == '_';
}

// Random tokens hold digits; names of packages and hyphenated words mostly do not.
bool HasDigit(std::string_view text) {
  return std::any_of(text.begin(), text.end(), IsDigit);
}

// A vendor's key: the prefix, then between size_min and size_max characters of one class.
struct KeyShape {
  std::string_view prefix;
  size_t size_min, size_max;
  bool (*is)(char);
};
constexpr size_t kLong = 4096;
constexpr KeyShape kKeyShapes[] = {
    {"AKIA", 16, 16, IsUpperOrDigit},     // AWS access key id
    {"ASIA", 16, 16, IsUpperOrDigit},     // AWS temporary access key id
    {"AIza", 35, 35, IsTokenChar},        // Google
    {"sk-ant-", 20, kLong, IsTokenChar},  // Anthropic
    {"sk-", 20, kLong, IsTokenChar},      // OpenAI and those that follow it
    {"ghp_", 36, 255, IsAlnum},           // GitHub: personal, OAuth, user, server, refresh
    {"gho_", 36, 255, IsAlnum},
    {"ghu_", 36, 255, IsAlnum},
    {"ghs_", 36, 255, IsAlnum},
    {"ghr_", 36, 255, IsAlnum},
    {"github_pat_", 22, 255, IsAlnumOrUnderscore},
    {"hf_", 30, 255, IsAlnum},        // Hugging Face
    {"xoxa-", 10, 255, IsTokenChar},  // Slack
    {"xoxb-", 10, 255, IsTokenChar},
    {"xoxe-", 10, 255, IsTokenChar},
    {"xoxp-", 10, 255, IsTokenChar},
    {"xoxr-", 10, 255, IsTokenChar},
    {"xoxs-", 10, 255, IsTokenChar},
    {"sk_live_", 16, 255, IsAlnum},  // Stripe
    {"rk_live_", 16, 255, IsAlnum},
};

bool IsVendorKey(std::string_view token) {
  for (const KeyShape& shape : kKeyShapes) {
    if (!token.starts_with(shape.prefix)) continue;
    const std::string_view rest = token.substr(shape.prefix.size());
    if (rest.size() >= shape.size_min && rest.size() <= shape.size_max && AllOf(rest, shape.is) &&
        HasDigit(rest))
      return true;
  }
  return false;
}

// The end of the run of token characters at `begin`.
size_t TokenEnd(std::string_view text, size_t begin) {
  while (begin < text.size() && IsTokenChar(text[begin])) ++begin;
  return begin;
}

// The end of a JSON web token whose first part is text[begin, end), or 0. Both first parts are base64url of
// '{"…'.
size_t JsonWebTokenEnd(std::string_view text, size_t begin, size_t end) {
  constexpr size_t kPartMin = 10;
  constexpr std::string_view kObject = "eyJ";
  if (end - begin < kPartMin || !text.substr(begin).starts_with(kObject)) return 0;
  if (end >= text.size() || text[end] != '.' || !text.substr(end + 1).starts_with(kObject)) return 0;
  const size_t second_end = TokenEnd(text, end + 1);
  if (second_end - (end + 1) < kPartMin || second_end >= text.size() || text[second_end] != '.') return 0;
  const size_t third_end = TokenEnd(text, second_end + 1);
  return third_end - (second_end + 1) < kPartMin ? 0 : third_end;
}

bool IsLocalChar(char c) {
  return IsAlnum(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-';
}
bool IsDomainChar(char c) {
  return IsAlnum(c) || c == '.' || c == '-';
}

// At least two labels of 1 to 63 letters, digits and inner hyphens; the last has at least two letters and no
// digit.
bool IsDomain(std::string_view domain) {
  if (domain.size() > 253) return false;
  int labels = 0;
  while (true) {
    const size_t dot = domain.find('.');
    const std::string_view label = domain.substr(0, dot);
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-') return false;
    ++labels;
    if (dot == domain.npos) return labels >= 2 && label.size() >= 2 && AllOf(label, IsAlpha);
    domain.remove_prefix(dot + 1);
  }
}

}  // namespace

std::vector<Match> FindPrivateKeys(std::string_view text) {
  constexpr std::string_view kBegin = "-----BEGIN ", kEnd = "-----";
  constexpr size_t kLabelMax = 64;
  std::vector<Match> matches;
  for (size_t at = text.find(kBegin); at != text.npos; at = text.find(kBegin, at + 1)) {
    const std::string_view rest = text.substr(at + kBegin.size(), kLabelMax + kEnd.size());
    const size_t label_end = rest.find(kEnd);
    if (label_end == rest.npos) continue;
    const std::string_view label = rest.substr(0, label_end);
    if (label.ends_with("PRIVATE KEY") || label.ends_with("PRIVATE KEY BLOCK")) {
      matches.push_back({at, at + kBegin.size() + label_end + kEnd.size()});
    }
  }
  return matches;
}

std::vector<Match> FindApiKeys(std::string_view text) {
  std::vector<Match> matches;
  for (size_t at = 0; at < text.size();) {
    if (!IsTokenChar(text[at])) {
      ++at;
      continue;
    }
    const size_t end = TokenEnd(text, at);
    const size_t web_token_end = JsonWebTokenEnd(text, at, end);
    if (web_token_end > 0) {
      matches.push_back({at, web_token_end});
    } else if (IsVendorKey(text.substr(at, end - at))) {
      matches.push_back({at, end});
    }
    at = std::max(end, web_token_end);
  }
  return matches;
}

std::vector<Match> FindEmails(std::string_view text) {
  constexpr size_t kLocalMax = 64;
  std::vector<Match> matches;
  // Neither run below crosses an @, so every byte is looked at twice at most.
  for (size_t at = text.find('@'); at != text.npos; at = text.find('@', at + 1)) {
    size_t begin = at;
    while (begin > 0 && IsLocalChar(text[begin - 1])) --begin;
    while (begin < at && !IsAlnum(text[begin])) ++begin;  // a dash or dot before the address is punctuation
    size_t end = at + 1;
    while (end < text.size() && IsDomainChar(text[end])) ++end;
    while (end > at + 1 && !IsAlnum(text[end - 1])) --end;  // and so is one behind it
    if (begin == at || at - begin > kLocalMax || text[at - 1] == '.') continue;
    if (IsDomain(text.substr(at + 1, end - at - 1))) matches.push_back({begin, end});
  }
  return matches;
}

}  // namespace retort::policy::internal
