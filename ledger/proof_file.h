// Offline proof files (C2SP tlog-proof): index, inclusion proof and checkpoint in one text.
#ifndef LEDGER_PROOF_FILE_H_
#define LEDGER_PROOF_FILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/checkpoint.h"
#include "ledger/digest.h"
#include "ledger/signing.h"

namespace retort::ledger {

struct ProofFile {
  std::optional<std::string> extra;  // unauthenticated bytes
  uint64_t index = 0;
  std::vector<Digest> hashes;
  std::string checkpoint;  // the whole note
};

std::string FormatProofFile(const ProofFile& proof);

// InvalidArgument naming the line that is malformed.
absl::StatusOr<ProofFile> ParseProofFile(std::string_view text);

// Checks that the leaf is in the log of `log_key` and `origin`; returns the checkpoint that shows it. Errors
// of OpenCheckpoint and VerifyInclusion.
absl::StatusOr<Checkpoint> VerifyProofFile(const ProofFile& proof, std::string_view leaf,
                                           const VerifyingKey& log_key, std::string_view origin);

}  // namespace retort::ledger

#endif  // LEDGER_PROOF_FILE_H_
