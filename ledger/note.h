// Signed notes (C2SP signed-note v1.0.0): a text with one signature line for each signer. Only Ed25519 (type
// 0x01) is spoken here; lines of other keys are kept and ignored, as the specification asks. Pure functions.
#ifndef LEDGER_NOTE_H_
#define LEDGER_NOTE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/signing.h"

namespace retort::ledger {

struct NoteSignature {
  std::string name;
  uint32_t note_id = 0;
  std::string signature;  // what follows the four id bytes; 64 bytes for Ed25519
};

struct Note {
  std::string text;  // ends with a newline; what the signatures cover
  std::vector<NoteSignature> signatures;
};

inline constexpr size_t kNoteBytesMax = 1 << 20;
inline constexpr size_t kNoteSignaturesMax = 64;

// `text` with one signature. The caller guarantees that `text` is UTF-8, has no control characters and ends
// with a newline (asserted).
std::string SignNote(std::string_view text, const SigningKey& key);

// Takes a note apart, checking form only. InvalidArgument naming the rule: not UTF-8, control characters, no
// blank line before the signatures (the last one counts), a malformed signature line, none, or too many.
absl::StatusOr<Note> ParseNote(std::string_view bytes);

// Text of a note that `key` has signed. InvalidArgument for a malformed note or one without a line of this
// key (same name and same id); DataLoss when a line of this key does not verify, whatever its other lines
// say.
absl::StatusOr<std::string> OpenNote(std::string_view bytes, const VerifyingKey& key);

}  // namespace retort::ledger

#endif  // LEDGER_NOTE_H_
