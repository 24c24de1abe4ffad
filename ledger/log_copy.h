// Copies of a log's database: for backups, taken while a server goes on appending, and for bringing one back.
//
//   absl::StatusOr<LogCopy> copy = CopyLog("/var/lib/retort/ledger/kitchen", "/backup/monday/kitchen", key);
//
// A copy is one state of the log, with every row of it: entries, tree, payloads and their wrapped keys. It
// counts as made only once the tree has been rebuilt from all its entries and leads to a checkpoint that the
// log's key has signed, so a copy that exists can be opened. Private keys are neither needed nor copied.
//
// A copy keeps what an erasure removes from the log afterwards, until the copy itself is removed.
//
// Functions are safe on any thread; two must not work on one target at once.
#ifndef LEDGER_LOG_COPY_H_
#define LEDGER_LOG_COPY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "ledger/digest.h"
#include "ledger/signing.h"

namespace retort::ledger {

// What a copy was found to hold.
struct LogCopy {
  std::string origin;        // of the log
  uint64_t size = 0;         // entries
  Digest root{};             // of the tree over all of them
  uint64_t signed_size = 0;  // entries under the newest checkpoint in it; the rest were appended just then
};

// Copies the log in the folder `source`, which a server may hold open, into the folder `target`, and checks
// the copy as VerifyLogCopy does. `log_key` is the public key of the deployment's log key, whatever its name:
// each project's log signs with that key under the name of its own origin.
//
// NotFound when `source` holds no log; AlreadyExists when `target` is there; otherwise the errors of
// VerifyLogCopy. Nothing is left of `target` after an error. Unavailable also when files were removed
// under it by a busy writer three times in a row.
absl::StatusOr<LogCopy> CopyLog(const std::string& source, const std::string& target,
                                const VerifyingKey& log_key);

// Checks the log in the folder `path`, which nobody needs to hold: its format, that its key is `log_key`,
// that the tree rebuilt from every entry is the stored one, and that it extends the newest signed checkpoint.
// `scratch` is a folder that is made and removed.
//
// NotFound when there is no log; FailedPrecondition for another format or another key; DataLoss when anything
// does not match; Unavailable when the disk refuses.
absl::StatusOr<LogCopy> VerifyLogCopy(const std::string& path, const std::string& scratch,
                                      const VerifyingKey& log_key);

}  // namespace retort::ledger

#endif  // LEDGER_LOG_COPY_H_
