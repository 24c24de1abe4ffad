#include "student/tokenizer/pre_tokenizer.h"

#include <array>
#include <cassert>

#include "student/tokenizer/unicode_classes.h"
#include "student/tokenizer/utf8.h"

namespace retort::student {
namespace {

enum class Kind { kLetter, kNumber, kSpace, kOther, kEnd };

struct Character {
  Kind kind = Kind::kEnd;
  size_t bytes = 0;
};

Character At(std::string_view text, size_t at) {
  if (at >= text.size()) return {};
  const CodePoint c = DecodeUtf8(text.substr(at));
  assert(c.valid);
  const Kind kind = IsLetter(c.value)   ? Kind::kLetter
                    : IsNumber(c.value) ? Kind::kNumber
                    : IsSpace(c.value)  ? Kind::kSpace
                                        : Kind::kOther;
  return {kind, c.bytes};
}

// End of the run of characters of `kind` that starts at `at`.
size_t RunEnd(std::string_view text, size_t at, Kind kind) {
  for (Character c = At(text, at); c.kind == kind; c = At(text, at)) at += c.bytes;
  return at;
}

size_t ContractionBytes(std::string_view text) {
  static constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t",  "'re", "'ve",
                                                                    "'m", "'ll", "'d"};
  for (const std::string_view contraction : kContractions) {
    if (text.starts_with(contraction)) return contraction.size();
  }
  return 0;
}

// White space before something that is not: the last character is left for what follows, unless it is the
// only one.
size_t SpaceEnd(std::string_view text, size_t at) {
  size_t end = at, last = at;
  for (Character c = At(text, end); c.kind == Kind::kSpace; c = At(text, end)) {
    last = end;
    end += c.bytes;
  }
  return end == text.size() || last == at ? end : last;
}

// End of the pattern's match at `at`.
size_t MatchEnd(std::string_view text, size_t at) {
  if (const size_t bytes = ContractionBytes(text.substr(at)); bytes > 0) return at + bytes;
  const size_t start = at + (text[at] == ' ' ? 1 : 0);
  const Kind kind = At(text, start).kind;
  if (kind != Kind::kSpace && kind != Kind::kEnd) return RunEnd(text, start, kind);
  return SpaceEnd(text, at);
}

void SplitByPattern(std::string_view text, std::vector<std::string_view>& pieces) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = MatchEnd(text, at);
    pieces.push_back(text.substr(at, end - at));
    at = end;
  }
}

}  // namespace

std::string_view PreTokenizerName(PreTokenizer pre_tokenizer) {
  return pre_tokenizer == PreTokenizer::kSmolLm ? "smollm" : "gpt-2";
}

std::optional<PreTokenizer> FindPreTokenizer(std::string_view name) {
  if (name == "smollm") return PreTokenizer::kSmolLm;
  if (name == "gpt-2") return PreTokenizer::kGpt2;
  return std::nullopt;
}

std::vector<std::string_view> SplitPieces(std::string_view text, PreTokenizer pre_tokenizer) {
  std::vector<std::string_view> pieces;
  if (pre_tokenizer == PreTokenizer::kGpt2) {
    SplitByPattern(text, pieces);
    return pieces;
  }
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = DecodeUtf8(text.substr(at));
    assert(c.valid);
    if (IsNumeric(c.value)) {
      SplitByPattern(text.substr(begin, at - begin), pieces);
      // The pattern sees the numeric character too; alone, it is one match whatever its class.
      pieces.push_back(text.substr(at, c.bytes));
      begin = at + c.bytes;
    }
    at += c.bytes;
  }
  SplitByPattern(text.substr(begin), pieces);
  return pieces;
}

}  // namespace retort::student
