#include "student/tokenizer/unicode_classes.h"

#include <algorithm>
#include <iterator>

namespace retort::student {
namespace {

struct CodePointRange {
  char32_t first;
  char32_t last;
};

#include "student/tokenizer/unicode_classes.inc"

template <size_t n>
bool Contains(const CodePointRange (&table)[n], char32_t c) {
  const auto* after =
      std::upper_bound(std::begin(table), std::end(table), c,
                       [](char32_t value, const CodePointRange& range) { return value < range.first; });
  return after != std::begin(table) && c <= (after - 1)->last;
}

}  // namespace

bool IsLetter(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return Contains(kLetters, c);
}

bool IsNumber(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return Contains(kNumbers, c);
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x9 && c <= 0xd);
  return Contains(kSpaces, c);
}

bool IsNumeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return Contains(kNumeric, c);
}

}  // namespace retort::student
