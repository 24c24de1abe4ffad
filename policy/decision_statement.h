// Decisions as ledger statements: how one is made, how its facts are tied to the capture that it is about,
// and how anybody computes it again. Functions are pure; any thread may call them.
#ifndef POLICY_DECISION_STATEMENT_H_
#define POLICY_DECISION_STATEMENT_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/statement.h"
#include "policy/evaluate.h"
#include "policy/pack.h"
#include "retort/policy/v1/facts.pb.h"

namespace retort::policy {

// What a decision is about.
struct DecisionSubject {
  std::string project;         // projects/{project}
  std::string request_id;      // SampleDecisionRequestId or PreflightRequestId
  std::string kind;            // sample or job
  std::string subject_digest;  // of a sample: SHA-256 of the capture statement; of a job: left empty, it is
                               // facts_digest
  std::string job, job_uid;
};

// UUID (version 8) of the first 16 bytes of SHA-256("retort/decision/v1\n" + request id of the capture).
std::string SampleDecisionRequestId(std::string_view capture_request_id);

// UUID (version 8) of the first 16 bytes of SHA-256("retort/preflight/v1\n" + job uid).
std::string PreflightRequestId(std::string_view job_uid);

// Id of the POLICY_PACK entry of a pack in one project: UUID (version 8) of the first 16 bytes of
// SHA-256("retort/pack/v1\n" project "\n" pack "\n" version "\n" sha256). Whoever enters the pack first, it
// is there once.
std::string PackRequestId(std::string_view project, std::string_view pack, std::string_view version,
                          std::string_view sha256);

// Sets what a capture knows better than the caller: provider, channel, model, model_answered, account_class,
// account_region and acquired_time of facts.teacher (empty ones become unset, except account_class, where
// empty means none), facts.generated_time from completed_time, and modality text, which every capture is; a
// longer text than facts hold is cut. extraction_mode, owner_region and owned_percent, which a capture does
// not know, are kept from `facts`. InvalidArgument: a time of the capture cannot be read.
absl::Status FillFactsFromCapture(const ledger::CaptureStatement& capture, v1::Facts* facts);

// Evaluates and states. InvalidArgument: the facts are not valid (ValidateFacts) or above 32 KiB as JSON,
// lack generated_time or decided_time, a sample's lack screening or a job's have it, or kind is neither
// sample nor job.
absl::StatusOr<ledger::DecisionStatement> MakeDecisionStatement(const PackSet& packs, const v1::Facts& facts,
                                                                const DecisionSubject& subject);

// Computes the decision again from the facts that the statement embeds, and compares every member that
// follows from them: effect, rules, obligations, packs, missing_inputs, facts_digest, times, and
// subject_digest of a job. DataLoss naming the member, the value seen and the value wanted, also when the
// facts cannot be read; FailedPrecondition when `packs` are not the packs that the statement names, since
// then nothing can be said.
absl::Status RecomputeDecision(const PackSet& packs, const ledger::DecisionStatement& statement);

// Checks that a sample's decision is about this capture: subject_digest is the SHA-256 of the exact bytes,
// project, job, job_uid and request_id follow from it, and facts.teacher and generated_time are what the
// capture says. DataLoss naming the member, the value seen and the value wanted.
absl::Status CheckDecisionAgainstCapture(const ledger::DecisionStatement& decision,
                                         std::string_view capture_json);

}  // namespace retort::policy

#endif  // POLICY_DECISION_STATEMENT_H_
