// Computes the decisions of a log again, one after another in log order.
#ifndef SERVICES_AUDIT_DECISION_AUDITOR_H_
#define SERVICES_AUDIT_DECISION_AUDITOR_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/statement.h"
#include "policy/obligations.h"
#include "policy/pack.h"

namespace retort::services {

// Holds the packs that the log has shown so far. A decision may only name packs that came before it. One
// thread.
class DecisionAuditor {
 public:
  // A pack that the log says became active. InvalidArgument when it is no valid pack or calls itself
  // otherwise than the statement; DataLoss when its bytes do not have the digest of the statement.
  absl::Status AddPack(const ledger::PolicyPackStatement& statement, std::string_view bytes);

  // Evaluates the packs that `decision` names over the facts that it embeds and compares the results; for a
  // sample
  // (`capture` not null) also that it is about that capture. Collects the obligations of what it allows, by
  // job uid. DataLoss: it comes out differently, or names a pack that the log has not shown before.
  absl::Status Check(const ledger::DecisionStatement& decision, const ledger::CaptureStatement* capture);

  // Duties that the allowed samples of a job put on a student, each once.
  std::vector<policy::Obligation> ObligationsOf(const std::string& job_uid) const;

  // Whether the job's own facts say that the student is distributed or hosted; unknown counts as yes.
  struct Use {
    bool distributed = true;
    bool hosted = true;
  };
  Use UseOf(const std::string& job_uid) const;

 private:
  struct Job {
    std::map<std::string, policy::Obligation> obligations;  // by a key of all members
    Use use;
  };
  absl::StatusOr<const policy::PackSet*> PacksOf(const ledger::DecisionStatement& decision);

  std::map<std::string, std::pair<std::string, std::string>> pack_bytes_;  // sha256 → (id, bytes)
  std::map<std::string, policy::PackSet> sets_;                            // joined digests → packs
  std::map<std::string, Job> jobs_;
};

}  // namespace retort::services

#endif  // SERVICES_AUDIT_DECISION_AUDITOR_H_
