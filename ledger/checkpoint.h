// Checkpoints (C2SP tlog-checkpoint v1.0.0): the signed head of a log. Origin, size and root, each on a line.
#ifndef LEDGER_CHECKPOINT_H_
#define LEDGER_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "ledger/digest.h"
#include "ledger/signing.h"

namespace retort::ledger {

struct Checkpoint {
  std::string origin;  // identity of the log; its key has the same name
  uint64_t size = 0;   // entries
  Digest root{};       // RFC 6962 tree hash

  bool operator==(const Checkpoint&) const = default;
};

// Body of the note: three lines.
std::string FormatCheckpoint(const Checkpoint& checkpoint);

// Reads a body; extension lines are accepted and ignored. InvalidArgument for an empty origin, a size with
// sign, leading zero or overflow, a root that is not 32 bytes of canonical base64, an empty line, or a
// missing final newline.
absl::StatusOr<Checkpoint> ParseCheckpoint(std::string_view body);

// A note over FormatCheckpoint(checkpoint).
std::string SignCheckpoint(const Checkpoint& checkpoint, const SigningKey& key);

// Opens a checkpoint note: signature first, text second. Errors of OpenNote and ParseCheckpoint;
// InvalidArgument when `origin` is not empty and the checkpoint has another.
absl::StatusOr<Checkpoint> OpenCheckpoint(std::string_view note, const VerifyingKey& key,
                                          std::string_view origin);

}  // namespace retort::ledger

#endif  // LEDGER_CHECKPOINT_H_
