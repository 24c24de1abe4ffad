// Audits the entries of a log in order, wherever they come from: hashes up to a signed root, signatures, and
// what one entry says about others. VerifyEvidence (evidence.h) does the same for the files of a pack; the
// ledger service does it for the log that it holds.
//
//   auto audit = LogAudit::Create(log_vkey, [&](const std::string& sha256) { return AttachmentOf(sha256); });
//   for (uint64_t i = 0; i < size; ++i) audit->Take(LeafOf(i));
//   VerifyReport report = audit->Finish(checkpoint_note);
//
// Links no database and no RPC. One thread.
#ifndef LEDGER_VERIFY_LOG_AUDIT_H_
#define LEDGER_VERIFY_LOG_AUDIT_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "ledger/verify/evidence.h"

namespace retort::ledger {

class LogAudit {
 public:
  // Content of an attachment whose SHA-256 is the given hex, or nothing.
  using Attachments = std::function<std::optional<std::string>(const std::string& sha256)>;

  // InvalidArgument for a bad vkey.
  static absl::StatusOr<LogAudit> Create(std::string_view log_vkey, Attachments attachments);
  LogAudit(LogAudit&&) noexcept;
  ~LogAudit();

  // The next entry; the first is entry 0.
  void Take(std::string_view leaf);

  // What held and what did not, under the checkpoint that signs this many entries. Ends the audit.
  VerifyReport Finish(const std::string& checkpoint_note);

 private:
  struct Impl;
  explicit LogAudit(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::ledger

#endif  // LEDGER_VERIFY_LOG_AUDIT_H_
