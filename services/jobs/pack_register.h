// Keeps the rule that every policy pack which a decision names is in the project's log before the decision
// is.
//
// An auditor computes decisions again from the packs in the log, so a decision whose packs are missing could
// never be checked. Packs are appended as POLICY_PACK entries with their YAML as attachment, once per project
// and digest. Thread-safe.
#ifndef SERVICES_JOBS_PACK_REGISTER_H_
#define SERVICES_JOBS_PACK_REGISTER_H_

#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "ledger/signing.h"
#include "ledger/statement.h"
#include "services/jobs/peers.h"
#include "services/jobs/stop_signal.h"

namespace retort::jobs {

class PackRegister {
 public:
  // Both outlive the register.
  PackRegister(Peers& peers, const ledger::SigningKey& key);

  // Appends those of `packs` that the log of projects/{project} does not have. OK when all are there.
  // Unavailable when a peer is away, or when the policy service now holds another version of a pack than the
  // decision names: both are for the caller to try again. Other errors are the peer's. `asked`, which may be
  // null, becomes the peer that the error is of: policy or ledger.
  absl::Status Ensure(StopSignal& stop, const std::string& project,
                      const std::vector<ledger::PackReference>& packs, std::string_view* asked = nullptr);

 private:
  absl::Status Append(StopSignal& stop, const std::string& project, const ledger::PackReference& pack,
                      std::string_view& asked);

  Peers& peers_;
  const ledger::SigningKey& key_;
  std::mutex mutex_;  // held during the calls too: a pack is appended by one thread
  std::set<std::pair<std::string, std::string>> known_;  // project, digest
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_PACK_REGISTER_H_
