// What the scanners of policy/screening.h share: a match, and classes of ASCII characters that do not depend
// on a locale.
#ifndef POLICY_INTERNAL_SCAN_H_
#define POLICY_INTERNAL_SCAN_H_

#include <cstddef>
#include <string_view>
#include <vector>

namespace retort::policy::internal {

// One finding: text[begin, end).
struct Match {
  size_t begin, end;
};

inline bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
inline bool IsUpper(char c) {
  return c >= 'A' && c <= 'Z';
}
inline bool IsLower(char c) {
  return c >= 'a' && c <= 'z';
}
inline bool IsAlpha(char c) {
  return IsUpper(c) || IsLower(c);
}
inline bool IsAlnum(char c) {
  return IsAlpha(c) || IsDigit(c);
}

// Each returns its matches in order, without overlaps, in time linear in the text.
std::vector<Match> FindPrivateKeys(std::string_view text);
std::vector<Match> FindApiKeys(std::string_view text);
std::vector<Match> FindEmails(std::string_view text);
std::vector<Match> FindIbans(std::string_view text);
std::vector<Match> FindPaymentCards(std::string_view text);
std::vector<Match> FindPhones(std::string_view text);

}  // namespace retort::policy::internal

#endif  // POLICY_INTERNAL_SCAN_H_
