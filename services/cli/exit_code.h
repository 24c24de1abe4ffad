// Exit codes of `retort`: what a script learns without reading text.
#ifndef SERVICES_CLI_EXIT_CODE_H_
#define SERVICES_CLI_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"
#include "retort/jobs/v1/jobs.pb.h"

namespace retort::services {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,
  kExitUsage = 2,        // the command line or a file that the caller wrote is wrong
  kExitRefused = 3,      // verification or policy said no
  kExitForbidden = 4,    // unauthenticated or not allowed
  kExitNotFound = 5,     //
  kExitConflict = 6,     // something else must change first
  kExitUnavailable = 7,  // unreachable or timed out; the same call may work later
  kExitCorrupt = 8,      // stored data does not match its hash, signature or proof
  kExitInterrupted = 130,
};

// The code for a failed call. A reason that policy or a signature check attached decides before the canonical
// code does. kExitOk for OK.
ExitCode ExitCodeOf(const absl::Status& status);

// The code for a job that has ended: 0 released, 3 refused by policy, otherwise what its state_reason asks
// for, or 1. kExitFailure for a job that has not ended.
ExitCode ExitCodeOf(const retort::jobs::v1::Job& job);

// True for SUCCEEDED, FAILED and CANCELLED.
bool HasEnded(const retort::jobs::v1::Job& job);

// Text of an error for people, without a final newline: "error: <message> (<REASON>)" and, where there is
// one, a second line that says what to do.
std::string ErrorText(const absl::Status& status);

// The table that `retort help exit-codes` prints.
std::string ExitCodeHelp();

}  // namespace retort::services

#endif  // SERVICES_CLI_EXIT_CODE_H_
