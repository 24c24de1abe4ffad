// A tokenizer of three special tokens and the 256 bytes, with ChatML and nothing merged.
#ifndef TESTS_STUDENT_TRAINING_BYTE_TOKENIZER_H_
#define TESTS_STUDENT_TRAINING_BYTE_TOKENIZER_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "student/tokenizer/tokenizer.h"

namespace retort::student {

inline TokenizerParts ByteTokenizerParts() {
  TokenizerParts parts;
  const auto add = [&](std::string token, bool special) {
    parts.tokens.push_back(std::move(token));
    parts.special.push_back(special);
  };
  add("<|endoftext|>", true);
  add("<|im_start|>", true);
  add("<|im_end|>", true);
  const auto utf8 = [](uint32_t c) {
    return c < 0x80 ? std::string(1, static_cast<char>(c))
                    : std::string{static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
  };
  uint32_t shifted = 256;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    add(utf8(printable ? byte : shifted++), false);
  }
  parts.bos = 1;
  parts.eos = 2;
  parts.padding = 2;
  parts.chat_template =
      "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
      "'<|im_start|>system\nYou are "
      "a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif "
      "%}{{'<|im_start|>' + "
      "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if "
      "add_generation_prompt %}{{ "
      "'<|im_start|>assistant\n' }}{% endif %}";
  return parts;
}

inline std::unique_ptr<Tokenizer> ByteTokenizer() {
  auto tokenizer = Tokenizer::FromParts(ByteTokenizerParts());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_TRAINING_BYTE_TOKENIZER_H_
