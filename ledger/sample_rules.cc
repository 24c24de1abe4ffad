#include "ledger/sample_rules.h"

#include <string>

#include "ledger/digest.h"
#include "ledger/hex.h"

namespace retort::ledger {

absl::Status CheckDecisionIsAbout(const SignedStatement& signed_capture, const CaptureStatement& capture,
                                  const DecisionStatement& decision) {
  const auto differs = [](std::string_view member, std::string_view wanted) {
    return absl::InvalidArgumentError("decision." + std::string(member) + " is not " + std::string(wanted));
  };
  if (decision.subject_kind != "sample") return differs("subject_kind", "sample");
  if (decision.subject_digest != HexEncode(Sha256(signed_capture.statement))) {
    return differs("subject_digest", "the SHA-256 of the capture");
  }
  if (decision.project != capture.project) return differs("project", "the capture's project");
  if (decision.job != capture.job) return differs("job", "the capture's job");
  if (decision.job_uid != capture.job_uid) return differs("job_uid", "the capture's job_uid");
  return absl::OkStatus();
}

Standing StandingOf(const SampleFacts& facts) {
  if (facts.erased) return Standing::kErased;
  if (facts.own_effect == "deny" || facts.newest_effect == "deny") return Standing::kDenied;
  if (facts.verdict == "reject") return Standing::kRejected;
  if (facts.newest_effect == "allow") return Standing::kAdmitted;
  return facts.verdict == "approve" ? Standing::kAdmitted : Standing::kInReview;
}

}  // namespace retort::ledger
