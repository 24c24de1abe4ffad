// Character classes as the `tokenizers` library has them (make_unicode_classes.py made the tables by asking
// it).
#ifndef STUDENT_TOKENIZER_UNICODE_CLASSES_H_
#define STUDENT_TOKENIZER_UNICODE_CLASSES_H_

namespace retort::student {

// \p{L}, \p{N} and \s of the GPT-2 pattern; a code point is in at most one.
bool IsLetter(char32_t c);
bool IsNumber(char32_t c);
bool IsSpace(char32_t c);
// What the digit rule takes for numeric: \p{N} of a newer Unicode version than the pattern's.
bool IsNumeric(char32_t c);

}  // namespace retort::student

#endif  // STUDENT_TOKENIZER_UNICODE_CLASSES_H_
