// Byte-level BPE, the tokenizer of the embedded teacher and of every student it teaches.
//
// Text is split on the special tokens when the caller allows them, then into pieces (pre_tokenizer.h: every
// numeric character alone, then the GPT-2 pattern), and each piece is merged pair by pair in rank order.
// Encoding agrees id for id with the `tokenizers` library. Text is bytes: each byte sequence that is not
// UTF-8 is read as U+FFFD, one per maximal invalid subpart, which is what that library's callers do before it
// sees the text.
//
//   auto tokenizer = Tokenizer::FromGguf(*file);
//   std::vector<int32_t> ids = (*tokenizer)->Encode("12 sheep");
//   auto prompt = (*tokenizer)->EncodeChat({{"user", "Hello"}}, /*add_generation_prompt=*/true);
//
// A Tokenizer is immutable and may be used from any thread.
#ifndef STUDENT_TOKENIZER_TOKENIZER_H_
#define STUDENT_TOKENIZER_TOKENIZER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "student/formats/gguf.h"
#include "student/tokenizer/pre_tokenizer.h"

namespace retort::student {

// One turn of a conversation: role is system, user or assistant; content is UTF-8.
struct ChatTurn {
  std::string role;
  std::string content;
};

// What a tokenizer file says, before any of it is believed.
struct TokenizerParts {
  std::vector<std::string>
      tokens;  // by id, as written in the file: byte-mapped text, or the literal of a special token
  std::vector<bool> special;        // by id: matched as a whole and never produced by merging
  std::vector<std::string> merges;  // "left right", byte-mapped, best rank first
  PreTokenizer pre_tokenizer = PreTokenizer::kSmolLm;
  std::optional<int32_t> bos, eos, unknown, padding;
  std::string chat_template;  // Jinja source; empty for none
};

class Tokenizer {
 public:
  static constexpr size_t kMaxVocabulary = 1u << 20;
  static constexpr size_t kMaxTokenBytes = 1024;  // of a token as written
  static constexpr size_t kMaxSpecials = 4096;
  static constexpr size_t kMaxJsonBytes = 64u << 20;

  // Builds from the tokenizer.ggml.* metadata. NotFound: a needed key is missing. InvalidArgument: as
  // FromParts. Unimplemented: a tokenizer model other than gpt2 or a pre-tokenizer other than smollm and
  // gpt-2, by name.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const GgufFile& file);

  // Reads tokenizer.json and tokenizer_config.json of a folder that WriteHuggingFace wrote. NotFound: a file
  // is missing. InvalidArgument: not JSON, a member missing or of another type or value than WriteHuggingFace
  // writes, or as FromParts. Both files are hostile input.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromHuggingFace(const std::string& folder);
  // The same from the files' contents.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromHuggingFaceJson(
      std::string_view tokenizer_json, std::string_view tokenizer_config_json);

  // Checks the parts and builds. InvalidArgument: no tokens or too many, a token empty, too long, twice, or
  // outside the byte alphabet; a merge that is not two tokens whose join
  // is a token; a special id outside the vocabulary. The message names the id or the merge.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromParts(TokenizerParts parts);

  // Ids of `text`. Special tokens inside it are ordinary text unless `allow_specials`; adds no BOS or EOS.
  // Never fails: a byte
  // that has no token of its own (SmolLM2 lacks 21, control characters and bytes that UTF-8 hardly uses) is
  // left out, as the library does.
  std::vector<int32_t> Encode(std::string_view text, bool allow_specials = false) const;

  // Ids of a conversation in the model's chat template, with the opening of an assistant turn when
  // `add_generation_prompt`. Roles and contents are encoded as ordinary text: a turn cannot forge the end of
  // another. InvalidArgument: no turn, or a role other than system, user and assistant. FailedPrecondition:
  // the model has no chat template, or one that is not known here (chat_template.h).
  absl::StatusOr<std::vector<int32_t>> EncodeChat(const std::vector<ChatTurn>& turns,
                                                  bool add_generation_prompt) const;

  // Text of ids: the tokens' bytes joined, then every maximal invalid UTF-8 subpart replaced by U+FFFD. With
  // `skip_specials` special tokens are left out. Ids outside the vocabulary give nothing.
  std::string Decode(std::span<const int32_t> ids, bool skip_specials = false) const;
  // The joined bytes, which need not be UTF-8.
  std::string DecodeBytes(std::span<const int32_t> ids, bool skip_specials = false) const;

  // Bytes that the token stands for; the literal of a special token. `id` must be in the vocabulary
  // (asserted).
  std::string_view TokenBytes(int32_t id) const;

  int32_t vocabulary_size() const { return static_cast<int32_t>(bytes_.size()); }
  bool is_special(int32_t id) const { return parts_.special[id]; }
  // Id of a token by its literal, special or as written in the file.
  std::optional<int32_t> FindToken(std::string_view token) const;
  std::optional<int32_t> bos() const { return parts_.bos; }
  std::optional<int32_t> eos() const { return parts_.eos; }
  std::optional<int32_t> unknown() const { return parts_.unknown; }
  std::optional<int32_t> padding() const { return parts_.padding; }
  // Ids that end a generation: eos, and <|im_end|> and <|endoftext|> when they are special tokens. Ascending.
  const std::vector<int32_t>& end_ids() const { return end_ids_; }
  const TokenizerParts& parts() const { return parts_; }

  // SHA-256 that names the id space: u32 number of tokens, then each token as written in id order as u32
  // length and bytes; u32 number of merges, then each "left right" likewise. All u32 are little-endian.
  // Stored as TokenTrace.tokenizer_sha256.
  const std::array<uint8_t, 32>& Digest() const { return digest_; }

  // Writes tokenizer.json, tokenizer_config.json (with the chat template) and special_tokens_map.json into
  // `folder`, which must exist; replaces older ones. Equal in effect to the model's own files when loaded
  // with `tokenizers` or transformers. The same tokenizer gives the same bytes. Unavailable: a file cannot be
  // written.
  absl::Status WriteHuggingFace(const std::string& folder) const;

 private:
  Tokenizer() = default;
  absl::Status IndexTokens();
  absl::Status IndexMerges();
  absl::Status IndexSpecials();
  void EncodePlain(std::string_view text, std::vector<int32_t>& ids) const;
  void EncodePiece(std::string_view piece, std::vector<int32_t>& ids) const;

  struct Merge {
    uint32_t rank;
    int32_t id;
  };

  TokenizerParts parts_;
  std::vector<std::string> bytes_;                        // by id
  std::unordered_map<std::string, int32_t> id_by_token_;  // as written
  std::unordered_map<uint64_t, Merge> merges_;            // left << 32 | right
  std::array<int32_t, 256> byte_ids_{};
  std::vector<int32_t> special_ids_;  // longest literal first
  std::vector<int32_t> end_ids_;
  std::array<uint8_t, 32> digest_{};
};

}  // namespace retort::student

#endif  // STUDENT_TOKENIZER_TOKENIZER_H_
