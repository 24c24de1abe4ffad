// Splits text into the pieces that BPE merges within, as the `tokenizers` library does for the models we
// know.
#ifndef STUDENT_TOKENIZER_PRE_TOKENIZER_H_
#define STUDENT_TOKENIZER_PRE_TOKENIZER_H_

#include <optional>
#include <string_view>
#include <vector>

namespace retort::student {

enum class PreTokenizer {
  // Every numeric character (Unicode Nd, Nl, No) is a piece; what lies between is split by the GPT-2 pattern.
  kSmolLm,
  // The GPT-2 pattern alone.
  kGpt2,
};

// Name in tokenizer.ggml.pre: "smollm", "gpt-2".
std::string_view PreTokenizerName(PreTokenizer pre_tokenizer);
std::optional<PreTokenizer> FindPreTokenizer(std::string_view name);

// Views into `text`, in order, that cover it exactly. `text` must be valid UTF-8 (utf8.h makes it so). The
// GPT-2 pattern, alternatives tried in this order at each position:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::vector<std::string_view> SplitPieces(std::string_view text, PreTokenizer pre_tokenizer);

}  // namespace retort::student

#endif  // STUDENT_TOKENIZER_PRE_TOKENIZER_H_
