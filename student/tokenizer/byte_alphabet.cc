#include "student/tokenizer/byte_alphabet.h"

#include <array>

#include "student/tokenizer/utf8.h"

namespace retort::student {
namespace {

struct Alphabet {
  std::array<std::string, 256> character;  // by byte, UTF-8
  std::array<int, 324> byte;               // by code point; -1 outside the alphabet

  Alphabet() {
    byte.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const char32_t c = printable ? static_cast<char32_t>(b) : next++;
      AppendUtf8(c, character[b]);
      byte[c] = b;
    }
  }
};

const Alphabet& GetAlphabet() {
  static const Alphabet alphabet;
  return alphabet;
}

}  // namespace

std::string_view ByteCharacter(uint8_t byte) {
  return GetAlphabet().character[byte];
}

std::optional<std::string> BytesOfWritten(std::string_view written) {
  const Alphabet& alphabet = GetAlphabet();
  std::string bytes;
  while (!written.empty()) {
    const CodePoint c = DecodeUtf8(written);
    if (!c.valid || c.value >= alphabet.byte.size() || alphabet.byte[c.value] < 0) return std::nullopt;
    bytes += static_cast<char>(alphabet.byte[c.value]);
    written.remove_prefix(c.bytes);
  }
  return bytes;
}

}  // namespace retort::student
