#include "ledger/verify/log_audit.h"

#include <utility>

#include "ledger/hex.h"
#include "ledger/merkle.h"
#include "ledger/verify/internal/entry_auditor.h"
#include "ledger/verify/internal/findings.h"

namespace retort::ledger {

struct LogAudit::Impl {
  Impl(VerifyingKey key, VerifyingKey same_key, Attachments attachments)
      : log_key(std::move(key)),
        findings(report),
        auditor(std::move(same_key), std::move(attachments), visitor, findings) {}

  VerifyingKey log_key;
  VerifyReport report;
  internal::Findings findings;
  const EvidenceVisitor visitor;
  internal::EntryAuditor auditor;
  CompactRange range;
};

LogAudit::LogAudit(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LogAudit::LogAudit(LogAudit&&) noexcept = default;
LogAudit::~LogAudit() = default;

absl::StatusOr<LogAudit> LogAudit::Create(std::string_view log_vkey, Attachments attachments) {
  absl::StatusOr<VerifyingKey> key = VerifyingKey::Parse(log_vkey);
  if (!key.ok()) return key.status();
  absl::StatusOr<VerifyingKey> same_key = VerifyingKey::Parse(log_vkey);  // keys do not copy
  if (!same_key.ok()) return same_key.status();
  LogAudit audit(std::make_unique<Impl>(*std::move(key), *std::move(same_key), std::move(attachments)));
  audit.impl_->report.log_vkey = std::string(log_vkey);
  return audit;
}

void LogAudit::Take(std::string_view leaf) {
  const Digest hash = LeafHash(leaf);
  const uint64_t index = impl_->range.size();
  impl_->range.Append(hash);
  impl_->auditor.Take(index, leaf, hash);
}

VerifyReport LogAudit::Finish(const std::string& checkpoint_note) {
  Impl& audit = *impl_;
  VerifyReport& report = audit.report;
  const auto checkpoint = OpenCheckpoint(checkpoint_note, audit.log_key, audit.log_key.name());
  if (audit.findings.Check("checkpoint", checkpoint.status())) {
    report.checkpoint = *checkpoint;
    report.checked.push_back({"signed checkpoint of " + checkpoint->origin, 1});
    if (checkpoint->size != audit.range.size()) {
      audit.findings.Add("checkpoint", "signs " + std::to_string(checkpoint->size) +
                                           " entries; the log has " + std::to_string(audit.range.size()));
    } else if (const Digest root = audit.range.Root(); root != checkpoint->root) {
      audit.findings.Add("checkpoint", "the root of the entries is " + HexEncode(root) + "; signed is " +
                                           HexEncode(checkpoint->root));
    }
  }
  const internal::EntryAuditor::Counts& counts = audit.auditor.counts();
  report.checked.push_back({"entries, hashed up to the root of the checkpoint", audit.range.size()});
  report.checked.push_back({"signatures of statements", counts.signatures});
  report.checked.push_back({"request ids, each of them once", audit.auditor.request_ids()});
  report.checked.push_back({"signed decisions", counts.decisions});
  report.checked.push_back({"reviews by people, each of a decision in the log", counts.reviews});
  report.checked.push_back({"policy packs", counts.packs});
  report.checked.push_back({"samples listed by datasets, all of them admitted", counts.dataset_samples});
  report.checked.push_back({"milestones of training runs, chained", counts.milestones});
  report.checked.push_back({"records of who was let in or refused", counts.accesses});
  report.not_checked.push_back(
      "that this server showed everybody this tree: verify an evidence pack with a key from elsewhere");
  report.not_checked.push_back("whether the packs, evaluated again, give these decisions");
  report.not_checked.push_back("the texts of the samples");
  return std::move(report);
}

}  // namespace retort::ledger
