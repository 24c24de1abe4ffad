// What must agree between the statements of a SAMPLE entry. The log checks it before appending, the dataset
// reader and the offline verifier after reading: one rule, three places. Pure functions.
#ifndef LEDGER_SAMPLE_RULES_H_
#define LEDGER_SAMPLE_RULES_H_

#include <string_view>

#include "absl/status/status.h"
#include "ledger/entry.h"
#include "ledger/statement.h"

namespace retort::ledger {

// OK when the decision is about exactly this capture: subject kind, SHA-256 of the capture's bytes, project,
// job and job uid. InvalidArgument naming the member otherwise.
absl::Status CheckDecisionIsAbout(const SignedStatement& signed_capture, const CaptureStatement& capture,
                                  const DecisionStatement& decision);

// Whether a dataset may hold a sample.
enum class Standing {
  kAdmitted,  // its newest decision allows it, or asks for a review and a person approved
  kInReview,  // waits for a person
  kDenied,    // its own decision or its newest one denies it
  kRejected,  // a person rejected it
  kErased,    // its text is gone
};

// What is known about a sample at one size of the log.
struct SampleFacts {
  std::string_view own_effect;     // of the decision in its SAMPLE entry: allow, review or deny
  std::string_view newest_effect;  // of the newest DECISION about its capture, or of its own without one
  std::string_view verdict;  // approve or reject: of the newest REVIEW of the entry that holds the newest
                             // decision; empty without one. A review of an older decision does not count.
  bool erased = false;
};

Standing StandingOf(const SampleFacts& facts);

}  // namespace retort::ledger

#endif  // LEDGER_SAMPLE_RULES_H_
