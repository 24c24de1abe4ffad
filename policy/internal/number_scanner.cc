// Account, card and telephone numbers: digits with separators, told apart by checksums and by how they are
// grouped.
#include <array>
#include <cstdint>
#include <string>

#include "policy/internal/scan.h"

namespace retort::policy::internal {
namespace {

bool IsDigitAt(std::string_view text, size_t at) {
  return at < text.size() && IsDigit(text[at]);
}
bool IsAlnumAt(std::string_view text, size_t at) {
  return at < text.size() && IsAlnum(text[at]);
}

// True when a number may begin at `at`: no letter, digit, or digit with a point before it.
bool StartsNumber(std::string_view text, size_t at) {
  if (at == 0) return true;
  const char before = text[at - 1];
  if (IsAlnum(before) || before == '_') return false;
  return !((before == '.' || before == ',') && at >= 2 && IsDigit(text[at - 2]));
}

// True when a number may end at `end`: nothing follows that would belong to it.
bool EndsNumber(std::string_view text, size_t end) {
  if (end >= text.size()) return true;
  const char after = text[end];
  if (IsAlnum(after) || after == '_') return false;
  return !((after == '.' || after == ',' || after == '-') && IsDigitAt(text, end + 1));
}

// Total length of an IBAN by country (ISO 13616 registry); 0 for a country without one.
size_t IbanLength(char first, char second) {
  struct Country {
    char code[3];
    uint8_t length;
  };
  static constexpr Country kCountries[] = {
      {"AD", 24}, {"AE", 23}, {"AL", 28}, {"AT", 20}, {"AZ", 28}, {"BA", 20}, {"BE", 16}, {"BG", 22},
      {"BH", 22}, {"BI", 27}, {"BR", 29}, {"BY", 28}, {"CH", 21}, {"CR", 22}, {"CY", 28}, {"CZ", 24},
      {"DE", 22}, {"DJ", 27}, {"DK", 18}, {"DO", 28}, {"EE", 20}, {"EG", 29}, {"ES", 24}, {"FI", 18},
      {"FK", 18}, {"FO", 18}, {"FR", 27}, {"GB", 22}, {"GE", 22}, {"GI", 23}, {"GL", 18}, {"GR", 27},
      {"GT", 28}, {"HR", 21}, {"HU", 28}, {"IE", 22}, {"IL", 23}, {"IQ", 23}, {"IS", 26}, {"IT", 27},
      {"JO", 30}, {"KW", 30}, {"KZ", 20}, {"LB", 28}, {"LC", 32}, {"LI", 21}, {"LT", 20}, {"LU", 20},
      {"LV", 21}, {"LY", 25}, {"MC", 27}, {"MD", 24}, {"ME", 22}, {"MK", 19}, {"MN", 20}, {"MR", 27},
      {"MT", 31}, {"MU", 30}, {"NI", 28}, {"NL", 18}, {"NO", 15}, {"OM", 23}, {"PK", 24}, {"PL", 28},
      {"PS", 29}, {"PT", 25}, {"QA", 29}, {"RO", 24}, {"RS", 22}, {"RU", 33}, {"SA", 24}, {"SC", 31},
      {"SD", 18}, {"SE", 24}, {"SI", 19}, {"SK", 24}, {"SM", 27}, {"SO", 23}, {"ST", 25}, {"SV", 28},
      {"TL", 23}, {"TN", 24}, {"TR", 26}, {"UA", 29}, {"VA", 22}, {"VG", 24}, {"XK", 20}};
  for (const Country& country : kCountries) {
    if (country.code[0] == first && country.code[1] == second) return country.length;
  }
  return 0;
}

// ISO 7064 mod 97-10 with the first four characters moved to the end; letters count 10 to 35.
bool HasIbanChecksum(std::string_view iban) {
  unsigned remainder = 0;
  for (size_t i = 0; i < iban.size(); ++i) {
    const char c = iban[(i + 4) % iban.size()];
    remainder = IsDigit(c) ? (remainder * 10 + static_cast<unsigned>(c - '0')) % 97
                           : (remainder * 100 + static_cast<unsigned>(c - 'A' + 10)) % 97;
  }
  return remainder == 1;
}

// The end of an IBAN that begins at `begin`, or 0. Blanks may stand between groups of four.
size_t IbanEnd(std::string_view text, size_t begin) {
  if (begin + 4 > text.size() || !IsUpper(text[begin]) || !IsUpper(text[begin + 1]) ||
      !IsDigit(text[begin + 2]) || !IsDigit(text[begin + 3]) || (begin > 0 && IsAlnum(text[begin - 1]))) {
    return 0;
  }
  const size_t length = IbanLength(text[begin], text[begin + 1]);
  if (length == 0) return 0;
  const bool grouped = begin + 4 < text.size() && text[begin + 4] == ' ';
  std::string iban;
  size_t at = begin;
  while (iban.size() < length && at < text.size()) {
    if (grouped && iban.size() % 4 == 0 && !iban.empty()) {
      if (text[at] != ' ') return 0;
      ++at;
      if (at == text.size()) return 0;
    }
    if (!IsUpper(text[at]) && !IsDigit(text[at])) return 0;
    iban += text[at++];
  }
  return iban.size() == length && !IsAlnumAt(text, at) && HasIbanChecksum(iban) ? at : 0;
}

bool HasLuhnChecksum(std::string_view digits) {
  int sum = 0;
  for (size_t i = 0; i < digits.size(); ++i) {
    int digit = digits[digits.size() - 1 - i] - '0';
    if (i % 2 == 1) digit = digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
    sum += digit;
  }
  return sum % 10 == 0;
}

// Prefix and length as the big card networks issue them.
bool IsIssued(std::string_view digits) {
  const auto prefix = [&](size_t count) {
    int value = 0;
    for (size_t i = 0; i < count; ++i) value = value * 10 + (digits[i] - '0');
    return value;
  };
  const auto in = [](int value, int low, int high) { return value >= low && value <= high; };
  const size_t size = digits.size();
  if (prefix(1) == 4) return size == 13 || size == 16 || size == 19;          // Visa
  if (in(prefix(2), 51, 55) || in(prefix(4), 2221, 2720)) return size == 16;  // Mastercard
  if (prefix(2) == 34 || prefix(2) == 37) return size == 15;                  // American Express
  if (prefix(4) == 6011 || prefix(2) == 65 || in(prefix(3), 644, 649))
    return in(static_cast<int>(size), 16, 19);  // Discover
  if (in(prefix(4), 3528, 3589) || prefix(2) == 62)
    return in(static_cast<int>(size), 16, 19);  // JCB, UnionPay
  if (in(prefix(3), 300, 305) || prefix(2) == 36 || prefix(2) == 38)
    return in(static_cast<int>(size), 14, 19);  // Diners
  return false;
}

// The end of a card number that begins at `begin`, or 0: digits in one run, or in groups of 3 to 7 with one
// kind of separator. The longest reading wins.
size_t CardEnd(std::string_view text, size_t begin) {
  constexpr size_t kDigitsMin = 13, kDigitsMax = 19;
  std::string digits;
  char separator = 0;
  size_t best = 0, at = begin, group = 0;
  while (digits.size() <= kDigitsMax && IsDigitAt(text, at)) {
    digits += text[at++];
    ++group;
    if (IsDigitAt(text, at)) continue;
    if (digits.size() >= kDigitsMin && digits.size() <= kDigitsMax && EndsNumber(text, at) &&
        IsIssued(digits) && HasLuhnChecksum(digits)) {
      best = at;
    }
    if (group < 3 || group > 7 || at >= text.size() || (text[at] != ' ' && text[at] != '-')) break;
    if (separator != 0 && text[at] != separator) break;
    separator = text[at++];
    group = 0;
  }
  return best;
}

// "+<country>…": 8 to 15 digits (ITU-T E.164) with single blanks, points, hyphens or brackets between them.
size_t InternationalEnd(std::string_view text, size_t begin) {
  if (text[begin] != '+' || !IsDigitAt(text, begin + 1) || text[begin + 1] == '0') return 0;
  if (begin > 0 && (IsAlnum(text[begin - 1]) || text[begin - 1] == '+')) return 0;
  size_t digits = 0, end = 0, at = begin + 1;
  while (digits <= 15 && at < text.size()) {
    if (IsDigit(text[at])) {
      ++digits;
      end = ++at;
      continue;
    }
    size_t gap = 0;  // at most ") " or " (" or one separator
    while (gap < 2 && at + gap < text.size() &&
           std::string_view(" .-()").find(text[at + gap]) != std::string_view::npos)
      ++gap;
    if (gap == 0 || !IsDigitAt(text, at + gap)) break;
    at += gap;
  }
  return digits >= 8 && digits <= 15 && EndsNumber(text, end) ? end : 0;
}

// [2-9]dd
bool IsAreaCode(std::string_view text, size_t at) {
  return IsDigitAt(text, at) && text[at] >= '2' && IsDigitAt(text, at + 1) && IsDigitAt(text, at + 2);
}

// (415) 555-0132, 415-555-0132, 415.555.0132, 415 555 0132, with 1- before it or not.
size_t NorthAmericanEnd(std::string_view text, size_t begin) {
  size_t at = begin;
  if (text[at] == '1' && at + 1 < text.size() &&
      std::string_view(" .-").find(text[at + 1]) != std::string_view::npos)
    at += 2;
  char separator = 0;
  if (at < text.size() && text[at] == '(') {
    if (!IsAreaCode(text, at + 1) || at + 4 >= text.size() || text[at + 4] != ')') return 0;
    at += 5;
    if (at < text.size() && text[at] == ' ') ++at;
  } else {
    if (!IsAreaCode(text, at) || at + 3 >= text.size()) return 0;
    separator = text[at + 3];
    if (std::string_view(" .-").find(separator) == std::string_view::npos) return 0;
    at += 4;
  }
  if (!IsAreaCode(text, at) || at + 3 >= text.size()) return 0;
  const char second = text[at + 3];
  if (separator == 0 ? (second != '-' && second != '.' && second != ' ') : second != separator) return 0;
  at += 4;
  for (size_t i = 0; i < 4; ++i) {
    if (!IsDigitAt(text, at + i)) return 0;
  }
  at += 4;
  if (at < text.size() && text[at] == ' ' && IsDigitAt(text, at + 1)) return 0;  // part of a row of numbers
  return EndsNumber(text, at) ? at : 0;
}

// A national number with its leading zero: 9 to 12 digits in at least two groups of two or more, one kind of
// separator.
size_t NationalEnd(std::string_view text, size_t begin) {
  if (text[begin] != '0' || !IsDigitAt(text, begin + 1) || text[begin + 1] == '0') return 0;
  size_t at = begin, digits = 0, group = 0, groups = 1;
  char separator = 0;
  while (digits <= 12 && IsDigitAt(text, at)) {
    ++at;
    ++digits;
    ++group;
    if (IsDigitAt(text, at)) continue;
    if (group < 2) return 0;
    const bool separated = at < text.size() &&
                           std::string_view(" -/").find(text[at]) != std::string_view::npos &&
                           (separator == 0 || separator == text[at]) && IsDigitAt(text, at + 1);
    if (!separated) break;
    separator = text[at++];
    group = 0;
    ++groups;
  }
  return digits >= 9 && digits <= 12 && groups >= 2 && group >= 2 && EndsNumber(text, at) ? at : 0;
}

// Tries `ends` at every place where a number may begin. Each try reads a bounded number of bytes.
template <typename End>
std::vector<Match> FindNumbers(std::string_view text, const End& ends) {
  std::vector<Match> matches;
  for (size_t at = 0; at < text.size();) {
    const size_t end = ends(text, at);
    if (end > at) matches.push_back({at, end});
    at = end > at ? end : at + 1;
  }
  return matches;
}

}  // namespace

std::vector<Match> FindIbans(std::string_view text) {
  return FindNumbers(text, IbanEnd);
}

std::vector<Match> FindPaymentCards(std::string_view text) {
  return FindNumbers(text, [](std::string_view t, size_t at) -> size_t {
    return IsDigit(t[at]) && StartsNumber(t, at) ? CardEnd(t, at) : 0;
  });
}

std::vector<Match> FindPhones(std::string_view text) {
  return FindNumbers(text, [](std::string_view t, size_t at) -> size_t {
    if (t[at] == '+') return InternationalEnd(t, at);
    if ((!IsDigit(t[at]) && t[at] != '(') || !StartsNumber(t, at)) return 0;
    const size_t end = NorthAmericanEnd(t, at);
    return end > 0 ? end : NationalEnd(t, at);
  });
}

}  // namespace retort::policy::internal
