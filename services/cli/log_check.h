// `ledger verify`: checks of a proof file, a checkpoint, or the log that a server shows.
#ifndef SERVICES_CLI_LOG_CHECK_H_
#define SERVICES_CLI_LOG_CHECK_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/checkpoint.h"
#include "ledger/signing.h"
#include "services/cli/client.h"

namespace retort::services {

// What was looked at and what came of it. A check that finds something wrong is a result, not an error.
struct LogCheck {
  std::string failure;  // empty: verified
  std::string log_vkey;
  ledger::Checkpoint checkpoint;
  std::vector<std::string> checked;
  std::vector<std::string> not_checked;

  // "VERIFIED" or "FAILED: <failure>".
  std::string Verdict() const { return failure.empty() ? "VERIFIED" : "FAILED: " + failure; }
};

// An entry against a C2SP proof file. Offline and pure.
LogCheck CheckProofFile(std::string_view proof_file, std::string_view leaf, const ledger::VerifyingKey& key);

// The signature of a checkpoint note. Offline and pure.
LogCheck CheckCheckpoint(std::string_view note, const ledger::VerifyingKey& key);

// Reads the whole log from a server and computes its root; with `since` (a checkpoint note, may be empty)
// also that the log extends that older checkpoint. The error of a call that failed; what does not match is a
// failure in the result.
absl::StatusOr<LogCheck> CheckServedLog(Client& client, const std::string& ledger_name,
                                        const ledger::VerifyingKey& key, std::string_view since);

}  // namespace retort::services

#endif  // SERVICES_CLI_LOG_CHECK_H_
