// The strings of golden/make_tokenizer_golden.py, made again: generate() there and GenerateString here must
// stay equal.
#ifndef TESTS_STUDENT_TOKENIZER_GENERATED_STRINGS_H_
#define TESTS_STUDENT_TOKENIZER_GENERATED_STRINGS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "student/tokenizer/utf8.h"

namespace retort::student {

class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}
  uint64_t Next(uint64_t bound) {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % bound;
  }

 private:
  uint64_t state_;
};

// Bytes of string `index`; one in ten or so is not UTF-8.
inline std::string GenerateString(uint64_t index) {
  static const std::vector<std::string_view> kWords = {"the",
                                                       "The",
                                                       "retort",
                                                       "Distil",
                                                       "hello",
                                                       "WORLD",
                                                       "don't",
                                                       "we'll",
                                                       "I'm",
                                                       "they've",
                                                       "you'd",
                                                       "it's",
                                                       "IT'S",
                                                       "'",
                                                       "''",
                                                       "'s",
                                                       "'re",
                                                       "naïve",
                                                       "Straße",
                                                       "Ελληνικά",
                                                       "русский",
                                                       "日本語",
                                                       "中文字符",
                                                       "한국어",
                                                       "العربية",
                                                       "עברית",
                                                       "हिन्दी",
                                                       "ไทย",
                                                       "é",
                                                       "e\u0301",
                                                       "\U0001F600",
                                                       "\U0001F468\u200D\U0001F469\u200D\U0001F467",
                                                       "\U0001F1E9\U0001F1EA",
                                                       "<|im_start|>",
                                                       "<|im_end|>",
                                                       "<|endoftext|>",
                                                       "<|im_",
                                                       "x86_64",
                                                       "C++20",
                                                       "a.b.c",
                                                       "--",
                                                       "==",
                                                       "...",
                                                       "?!",
                                                       "http://example.com/a?b=c&d=1",
                                                       "²",
                                                       "③",
                                                       "Ⅷ",
                                                       "½",
                                                       "٣",
                                                       "१२",
                                                       "0",
                                                       "1",
                                                       "42",
                                                       "2026",
                                                       "3.14",
                                                       "1,000",
                                                       "\u2028",
                                                       "\u00a0",
                                                       "\ufeff",
                                                       "\u200b",
                                                       "\ufffd",
                                                       "_",
                                                       "\\n",
                                                       "{}",
                                                       "[]();",
                                                       "\"",
                                                       "`",
                                                       "~",
                                                       "€",
                                                       "µ"};
  static const std::vector<std::string_view> kSpaces = {" ",      "  ",   "   ",  "\t",     "\n",
                                                        "\r\n",   "\n\n", " \n",  "\t ",    "\u3000",
                                                        "\u2003", "\x0b", "\x0c", "\u0085", "\x1c"};
  static const std::vector<std::string_view> kBad = {
      "\x80",         "\xff",         "\xc3",     "\xe2\x82",
      "\xf0\x9f\x98", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80",
      "\xe2\x28\xa1", "\xf8"};
  static const std::pair<char32_t, char32_t> kRanges[] = {
      {0xa0, 0x250},     {0x250, 0x3000},    {0x3000, 0xa000},   {0xa000, 0xd800},
      {0xe000, 0x10000}, {0x10000, 0x20000}, {0x20000, 0x110000}};
  SplitMix64 random(index);
  std::string out;
  const uint64_t atoms = random.Next(24);
  for (uint64_t i = 0; i < atoms; ++i) {
    const uint64_t kind = random.Next(10);
    if (kind < 4) {
      out += kWords[random.Next(kWords.size())];
    } else if (kind < 7) {
      out += kSpaces[random.Next(kSpaces.size())];
    } else if (kind < 8) {
      const uint64_t count = 1 + random.Next(8);
      for (uint64_t j = 0; j < count; ++j) out += static_cast<char>(0x21 + random.Next(94));
    } else if (kind < 9) {
      const auto [low, high] = kRanges[random.Next(7)];
      const uint64_t count = 1 + random.Next(4);
      for (uint64_t j = 0; j < count; ++j)
        AppendUtf8(low + static_cast<char32_t>(random.Next(high - low)), out);
    } else if (random.Next(3) == 0) {
      out += kBad[random.Next(kBad.size())];
    }
  }
  return out;
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_TOKENIZER_GENERATED_STRINGS_H_
