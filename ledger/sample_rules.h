// What must agree between the statements of a SAMPLE entry. The log checks it before appending, the dataset
// reader and the offline verifier after reading: one rule, three places. Pure functions.
#ifndef LEDGER_SAMPLE_RULES_H_
#define LEDGER_SAMPLE_RULES_H_

#include "absl/status/status.h"
#include "ledger/entry.h"
#include "ledger/statement.h"

namespace retort::ledger {

// OK when the decision is about exactly this capture: subject kind, SHA-256 of the capture's bytes, project,
// job and job uid. InvalidArgument naming the member otherwise.
absl::Status CheckDecisionIsAbout(const SignedStatement& signed_capture, const CaptureStatement& capture,
                                  const DecisionStatement& decision);

}  // namespace retort::ledger

#endif  // LEDGER_SAMPLE_RULES_H_
