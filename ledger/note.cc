#include "ledger/note.h"

#include <cassert>
#include <utility>

#include "ledger/base64.h"
#include "ledger/internal/status_text.h"

namespace retort::ledger {
namespace {

constexpr std::string_view kSignaturePrefix = "\xE2\x80\x94 ";  // em dash, space
constexpr size_t kIdBytes = 4;

// Offset of the first byte that is not part of a valid UTF-8 text without control characters, or npos.
size_t FirstBadByte(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<uint8_t>(text[i]);
    if (first < 0x20 && first != '\n') return i;
    if (first < 0x80) {
      ++i;
      continue;
    }
    const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || i + length > text.size()) return i;
    uint32_t point = first & (0xFF >> (length + 1));
    for (size_t j = 1; j < length; ++j) {
      const auto next = static_cast<uint8_t>(text[i + j]);
      if ((next & 0xC0) != 0x80) return i;
      point = point << 6 | (next & 0x3F);
    }
    const uint32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
    if (point < least || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return i;
    i += length;
  }
  return std::string_view::npos;
}

absl::Status Malformed(std::string_view rule) {
  return absl::InvalidArgumentError("note: " + std::string(rule));
}

absl::StatusOr<NoteSignature> ParseSignatureLine(std::string_view line) {
  if (!line.starts_with(kSignaturePrefix))
    return Malformed("a signature line does not begin with an em dash and a space");
  line.remove_prefix(kSignaturePrefix.size());
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return Malformed("a signature line has no signature");
  NoteSignature signature{.name = std::string(line.substr(0, space))};
  if (absl::Status status = CheckKeyName(signature.name); !status.ok())
    return Malformed(internal::MessageOf(status));
  const absl::StatusOr<std::string> bytes = Base64Decode(line.substr(space + 1));
  if (!bytes.ok()) return Malformed(internal::MessageOf(bytes.status()));
  if (bytes->size() <= kIdBytes) return Malformed("a signature is shorter than its key id");
  for (size_t i = 0; i < kIdBytes; ++i)
    signature.note_id = signature.note_id << 8 | static_cast<uint8_t>((*bytes)[i]);
  signature.signature = bytes->substr(kIdBytes);
  return signature;
}

}  // namespace

std::string SignNote(std::string_view text, const SigningKey& key) {
  assert(text.ends_with('\n') && FirstBadByte(text) == std::string_view::npos);
  std::string line;
  for (int shift = 24; shift >= 0; shift -= 8) line += static_cast<char>(key.note_id() >> shift);
  const Signature signature = key.Sign(text);
  line.append(reinterpret_cast<const char*>(signature.data()), signature.size());
  return std::string(text) + "\n" + std::string(kSignaturePrefix) + key.name() + " " + Base64Encode(line) +
         "\n";
}

absl::StatusOr<Note> ParseNote(std::string_view bytes) {
  if (bytes.size() > kNoteBytesMax) {
    return Malformed(std::to_string(bytes.size()) + " bytes; at most " + std::to_string(kNoteBytesMax) +
                     " are allowed");
  }
  if (const size_t bad = FirstBadByte(bytes); bad != std::string_view::npos) {
    return Malformed("byte " + std::to_string(bad) + " is a control character or not UTF-8");
  }
  if (!bytes.ends_with('\n')) return Malformed("does not end with a newline");
  const size_t blank = bytes.rfind("\n\n");  // the text may hold blank lines; the last one ends it
  if (blank == std::string_view::npos) return Malformed("has no blank line before its signatures");
  Note note{.text = std::string(bytes.substr(0, blank + 1))};
  std::string_view rest = bytes.substr(blank + 2);
  while (!rest.empty()) {
    if (note.signatures.size() == kNoteSignaturesMax) return Malformed("more than 64 signatures");
    const size_t end = rest.find('\n');
    absl::StatusOr<NoteSignature> signature = ParseSignatureLine(rest.substr(0, end));
    if (!signature.ok()) return signature.status();
    note.signatures.push_back(*std::move(signature));
    rest.remove_prefix(end + 1);
  }
  if (note.signatures.empty()) return Malformed("has no signature");
  return note;
}

absl::StatusOr<std::string> OpenNote(std::string_view bytes, const VerifyingKey& key) {
  absl::StatusOr<Note> note = ParseNote(bytes);
  if (!note.ok()) return note.status();
  bool verified = false;
  for (const NoteSignature& line : note->signatures) {
    if (line.name != key.name() || line.note_id != key.note_id()) continue;
    if (absl::Status status = key.Verify(note->text, line.signature); !status.ok()) {
      return absl::DataLossError("note: " + std::string(status.message()));
    }
    verified = true;
  }
  if (!verified) return Malformed("has no signature of key " + key.name());
  return std::move(note->text);
}

}  // namespace retort::ledger
