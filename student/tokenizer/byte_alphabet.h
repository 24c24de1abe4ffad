// The byte alphabet of GPT-2's BPE: each byte is written as one printable character, so that vocabularies are
// text.
#ifndef STUDENT_TOKENIZER_BYTE_ALPHABET_H_
#define STUDENT_TOKENIZER_BYTE_ALPHABET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace retort::student {

// Bytes 33-126, 161-172 and 174-255 stand for themselves as code points; the other 68, in ascending order,
// are written as U+0100 onwards (space is U+0120, newline U+010A). UTF-8.
std::string_view ByteCharacter(uint8_t byte);

// The bytes that `written` stands for, or nothing when a character is outside the alphabet or it is not
// UTF-8.
std::optional<std::string> BytesOfWritten(std::string_view written);

}  // namespace retort::student

#endif  // STUDENT_TOKENIZER_BYTE_ALPHABET_H_
