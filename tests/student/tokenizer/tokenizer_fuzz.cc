// The first byte chooses: any bytes as tokenizer.json, or any bytes as text for a small tokenizer, whose
// pieces must join to the text again.
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "student/tokenizer/byte_alphabet.h"
#include "student/tokenizer/tokenizer.h"
#include "student/tokenizer/utf8.h"

namespace {

using retort::student::Tokenizer;
using retort::student::TokenizerParts;

const Tokenizer& Small() {
  static const std::unique_ptr<Tokenizer> tokenizer = [] {
    TokenizerParts parts;
    parts.tokens = {"<|im_start|>", "<|im_end|>"};
    for (int byte = 0; byte < 256; ++byte) {
      parts.tokens.emplace_back(retort::student::ByteCharacter(static_cast<uint8_t>(byte)));
    }
    parts.special.assign(parts.tokens.size(), false);
    parts.special[0] = parts.special[1] = true;
    for (const char* merge : {"t h", "th e", "a a", "aa aa", "i n", "\xc4\xa0 t"}) {
      std::string joined(merge);
      joined.erase(joined.find(' '), 1);
      parts.tokens.push_back(joined);
      parts.special.push_back(false);
      parts.merges.emplace_back(merge);
    }
    return std::move(Tokenizer::FromParts(std::move(parts))).value();
  }();
  return *tokenizer;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] % 2 == 0) {
    auto tokenizer = Tokenizer::FromHuggingFaceJson(rest, "{}");
    if (tokenizer.ok()) (void)(*tokenizer)->Encode(rest, true);
    return 0;
  }
  for (const bool allow_specials : {false, true}) {
    const auto ids = Small().Encode(rest, allow_specials);
    if (Small().DecodeBytes(ids) != retort::student::RepairUtf8(rest)) __builtin_trap();
  }
  return 0;
}
