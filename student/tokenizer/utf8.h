// UTF-8 as the tokenizer needs it: code points out of bytes, and repair of bytes that are none.
#ifndef STUDENT_TOKENIZER_UTF8_H_
#define STUDENT_TOKENIZER_UTF8_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace retort::student {

struct CodePoint {
  char32_t value = 0;
  uint32_t bytes = 0;  // 1 to 4
  bool valid = false;  // when false, `bytes` is the length of the maximal invalid subpart (Unicode 15, 3.9)
};

// The code point at the start of `text`, which must not be empty. Surrogates, overlong forms and values above
// U+10FFFF are invalid.
CodePoint DecodeUtf8(std::string_view text);

void AppendUtf8(char32_t code_point, std::string& out);

bool IsUtf8(std::string_view text);

// `text` with each maximal invalid subpart replaced by U+FFFD.
std::string RepairUtf8(std::string_view text);

}  // namespace retort::student

#endif  // STUDENT_TOKENIZER_UTF8_H_
