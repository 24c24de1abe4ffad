// Follows a log entry by entry, as the log itself should have: keys, signatures, request ids, and what one
// entry says about others. Implementation only; one thread.
#ifndef LEDGER_VERIFY_INTERNAL_ENTRY_AUDITOR_H_
#define LEDGER_VERIFY_INTERNAL_ENTRY_AUDITOR_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "ledger/digest.h"
#include "ledger/entry.h"
#include "ledger/key_registry.h"
#include "ledger/sample_rules.h"
#include "ledger/statement.h"
#include "ledger/verify/evidence.h"
#include "ledger/verify/internal/findings.h"

namespace retort::ledger::internal {

// Content of an attachment whose SHA-256 is the given hex, or nothing when the pack has none that matches.
using AttachmentSource = std::function<std::optional<std::string>(const std::string& sha256)>;

class EntryAuditor {
 public:
  struct Counts {
    uint64_t signatures = 0, decisions = 0, dataset_samples = 0, milestones = 0, attempts = 0, packs = 0,
             accesses = 0, reviews = 0;
  };

  EntryAuditor(VerifyingKey log_key, AttachmentSource attachments, const EvidenceVisitor& visitor,
               Findings& findings);

  // Audits the next entry.
  void Take(uint64_t index, std::string_view leaf, const Digest& leaf_hash);

  const Counts& counts() const { return counts_; }
  uint64_t request_ids() const { return request_ids_.size(); }
  // RELEASE entries whose statement verified.
  const std::map<uint64_t, ReleaseStatement>& releases() const { return releases_; }
  // SHA-256 of every attachment that a statement names.
  const std::set<std::string>& named_attachments() const { return named_attachments_; }

 private:
  // What later entries may refer to.
  struct Sample {
    Digest leaf_hash{};
    Digest subject{};  // SHA-256 of the capture
    std::string prompt_id, job_uid;
    std::string effect;  // of its own decision
    bool held_out = false, erased = false;
  };
  struct Run {
    std::string last_digest, manifest_sha256;
    int64_t dataset_entry = 0, last_step = 0;
    bool finished = false;
  };

  absl::Status CheckStatements(uint64_t index, const Entry& entry);
  absl::Status CheckCommon(uint64_t index, const std::string& project, const std::string& request_id);
  std::optional<std::string> TakeAttachment(const std::string& where, std::string_view what,
                                            const std::string& sha256);

  absl::Status TakeSample(uint64_t index, const Entry& entry, const Digest& leaf_hash);
  absl::Status TakePolicyPack(uint64_t index, const Entry& entry);
  absl::Status TakeDecision(uint64_t index, const Entry& entry);
  absl::Status TakeReview(uint64_t index, const Entry& entry);
  absl::Status TakeDataset(uint64_t index, const Entry& entry);
  Standing StandingNow(uint64_t index, const Sample& sample) const;
  absl::Status TakeTraining(uint64_t index, const Entry& entry);
  absl::Status TakeUsage(const TrainingStatement& training);
  absl::Status TakeRelease(uint64_t index, const Entry& entry);
  absl::Status TakeKey(uint64_t index, const Entry& entry);
  absl::Status TakeErasure(uint64_t index, const Entry& entry);
  absl::Status TakeAccess(uint64_t index, const Entry& entry);

  KeyRegistry keys_;
  const AttachmentSource attachments_;
  const EvidenceVisitor& visitor_;
  Findings& findings_;
  Counts counts_;

  std::string project_;  // of entry 0
  int64_t last_time_us_ = 0;
  std::unordered_set<std::string> request_ids_;
  std::set<std::string> named_attachments_;
  std::unordered_map<uint64_t, Sample> samples_;
  std::map<std::string, int64_t> samples_of_job_;          // so far, by job uid
  std::unordered_map<uint64_t, Digest> decision_digests_;  // by entry, of its decision statement
  std::map<Digest, std::pair<uint64_t, std::string>>
      later_decisions_;                                 // by subject: entry and effect of the newest
  std::unordered_map<uint64_t, std::string> verdicts_;  // by entry of a decision, of its newest review
  std::map<uint64_t, DatasetStatement> datasets_;
  std::map<uint64_t, TrainingStatement> finishes_;
  std::map<std::pair<std::string, std::string>, Run> runs_;          // by job uid and run
  std::map<std::pair<std::string, std::string>, int64_t> attempts_;  // so far, by job uid and run
  std::map<uint64_t, ReleaseStatement> releases_;
};

}  // namespace retort::ledger::internal

#endif  // LEDGER_VERIFY_INTERNAL_ENTRY_AUDITOR_H_
