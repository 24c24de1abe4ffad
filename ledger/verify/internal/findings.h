// Collects what does not hold, up to a bound. Implementation only.
#ifndef LEDGER_VERIFY_INTERNAL_FINDINGS_H_
#define LEDGER_VERIFY_INTERNAL_FINDINGS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "ledger/internal/status_text.h"
#include "ledger/verify/evidence.h"

namespace retort::ledger::internal {

class Findings {
 public:
  explicit Findings(VerifyReport& report) : report_(report) {}

  void Add(std::string where, std::string what) {
    if (report_.findings.size() == kFindingsMax) {
      report_.more_findings = true;
      return;
    }
    report_.findings.push_back({std::move(where), std::move(what)});
  }

  // Adds the message of an error; returns status.ok().
  bool Check(const std::string& where, const absl::Status& status) {
    if (!status.ok()) Add(where, std::string(MessageOf(status)));
    return status.ok();
  }

 private:
  VerifyReport& report_;
};

}  // namespace retort::ledger::internal

#endif  // LEDGER_VERIFY_INTERNAL_FINDINGS_H_
