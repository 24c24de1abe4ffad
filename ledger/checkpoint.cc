#include "ledger/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "ledger/base64.h"
#include "ledger/internal/status_text.h"
#include "ledger/note.h"

namespace retort::ledger {
namespace {

absl::Status MalformedCheckpoint(std::string_view rule) {
  return absl::InvalidArgumentError("checkpoint: " + std::string(rule));
}

// Takes one line off the front of `text`; the caller has checked that it ends with a newline.
std::string_view TakeLine(std::string_view& text) {
  const size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

}  // namespace

std::string FormatCheckpoint(const Checkpoint& checkpoint) {
  return checkpoint.origin + "\n" + std::to_string(checkpoint.size) + "\n" +
         Base64Encode(AsView(checkpoint.root)) + "\n";
}

absl::StatusOr<Checkpoint> ParseCheckpoint(std::string_view body) {
  if (!body.ends_with('\n')) return MalformedCheckpoint("does not end with a newline");
  Checkpoint checkpoint;
  checkpoint.origin = TakeLine(body);
  if (checkpoint.origin.empty()) return MalformedCheckpoint("the origin is empty");
  const std::string_view size = TakeLine(body);
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), checkpoint.size);
  if (size.empty() || error != std::errc() || end != size.data() + size.size() ||
      (size[0] == '0' && size.size() > 1)) {
    return MalformedCheckpoint("the size is not a decimal number below 2^64 without leading zeros");
  }
  const absl::StatusOr<std::string> root = Base64Decode(TakeLine(body));
  if (!root.ok()) return MalformedCheckpoint(internal::MessageOf(root.status()));
  if (root->size() != checkpoint.root.size()) {
    return MalformedCheckpoint("a root of " + std::to_string(root->size()) + " bytes; wanted 32");
  }
  std::copy(root->begin(), root->end(), checkpoint.root.begin());
  while (!body.empty()) {
    if (TakeLine(body).empty()) return MalformedCheckpoint("an empty line");
  }
  return checkpoint;
}

std::string SignCheckpoint(const Checkpoint& checkpoint, const SigningKey& key) {
  return SignNote(FormatCheckpoint(checkpoint), key);
}

absl::StatusOr<Checkpoint> OpenCheckpoint(std::string_view note, const VerifyingKey& key,
                                          std::string_view origin) {
  const absl::StatusOr<std::string> text = OpenNote(note, key);
  if (!text.ok()) return text.status();
  absl::StatusOr<Checkpoint> checkpoint = ParseCheckpoint(*text);
  if (!checkpoint.ok()) return checkpoint.status();
  if (!origin.empty() && checkpoint->origin != origin) {
    return MalformedCheckpoint("the origin is " + checkpoint->origin.substr(0, 64) + "; wanted " +
                               std::string(origin));
  }
  return checkpoint;
}

}  // namespace retort::ledger
