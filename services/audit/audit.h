// Audits an evidence pack: everything that ledger/verify checks from the log's public key alone, and every
// decision computed again from the policy packs that the log itself holds.
//
//   auto report = AuditEvidence("out/demo/evidence", vkey, nullptr);
//   std::cout << AuditText(*report);
//
// Needs files and one public key; no server, no network, no clock. One thread.
#ifndef SERVICES_AUDIT_AUDIT_H_
#define SERVICES_AUDIT_AUDIT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/statement.h"
#include "ledger/verify/evidence.h"
#include "services/audit/cost_report.h"

namespace retort::services {

// A key that signed, or could have signed, what the pack holds.
struct AuditKey {
  std::string role;  // log, teacher, policy, jobs, trainer, reviewer
  std::string vkey;
  std::string action;  // add or retire
  uint64_t entry = 0;  // KEY entry that says so
};

struct AuditReport {
  ledger::VerifyReport
      ledger;  // verdict, findings (those of decisions included), counts, what was not checked
  std::vector<AuditKey> keys;                      // in log order
  std::vector<ledger::PolicyPackStatement> packs;  // in log order
  uint64_t samples_allowed = 0, samples_review = 0, samples_denied = 0;
  uint64_t jobs_allowed = 0, jobs_review = 0, jobs_denied = 0;
  std::optional<ledger::ReleaseStatement> release;  // the student in the pack
  CostReport cost;  // of all training in the log; the final run is the release's

  bool verified() const { return ledger.findings.empty(); }
};

// Entries done and entries in all, now and then; may be empty.
using AuditProgress = std::function<void(uint64_t done, uint64_t total)>;

// Audits the pack in `folder`. Whatever is wrong with the pack is a finding of the report; an error means
// that the audit could not be made: InvalidArgument for a bad vkey, NotFound without a pack, Unavailable when
// files cannot be read.
absl::StatusOr<AuditReport> AuditEvidence(const std::string& folder, std::string_view log_vkey,
                                          const AuditProgress& progress);

// For people: the verdict line, further findings, who signed, the checkpoint, what was checked with counts,
// what was not. Never holds a control character, whatever the pack holds.
std::string AuditText(const AuditReport& report);

// The same facts as one JSON object, indented, with a final newline.
std::string AuditJson(const AuditReport& report);

}  // namespace retort::services

#endif  // SERVICES_AUDIT_AUDIT_H_
