// Public keys that a ledger accepts statements from, as a folder of files: how Kubernetes mounts a ConfigMap.
#ifndef SERVICES_LEDGER_TRUSTED_KEYS_H_
#define SERVICES_LEDGER_TRUSTED_KEYS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/log.h"
#include "ledger/signing.h"

namespace retort::services {

// Reads the files <role>.vkey of `folder`, one vkey a line, sorted by role. log.vkey, when it is there, must
// hold the public half of `log_key`: it catches the keys of another installation before a log is made with
// them. Names that begin with a dot are left alone; whether a role and its keys are good is for
// ledger::Log::Open.
//
// NotFound when there is no folder; InvalidArgument for another name, an empty file, or a folder without
// keys; FailedPrecondition when log.vkey is of another key or a file cannot be read.
absl::StatusOr<std::vector<ledger::TrustedKey>> LoadTrustedKeys(const std::string& folder,
                                                                const ledger::SigningKey& log_key);

}  // namespace retort::services

#endif  // SERVICES_LEDGER_TRUSTED_KEYS_H_
