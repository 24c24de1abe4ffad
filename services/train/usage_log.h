// The durable record of what each attempt of a run has used, kept in the run folder until it is in the
// ledger.
//
//   <run dir>/usage/lock
//                   attempt-000002.json            TRAINING statement of phase usage, as the ledger would get
//                   it now attempt-000001.appended.json   one that it has got
//
// While an attempt runs, its file says outcome `lost` and is replaced, whole and synced, with every report: a
// process that is killed leaves a statement that is true as far as it goes. Once the process is gone nothing
// changes the file any more, so whoever appends it, however often, appends the same bytes under the same
// request id, and the ledger keeps one entry. The next attempt does so before its first step; `retort-train
// --settle-usage` does so when there is none. One thread.
#ifndef SERVICES_TRAIN_USAGE_LOG_H_
#define SERVICES_TRAIN_USAGE_LOG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/statement.h"

namespace retort::train {

// Request id of what an attempt used: that of a milestone with phase "usage" and the attempt for a step.
std::string UsageRequestId(std::string_view job_uid, std::string_view run, int64_t attempt);

class UsageLog {
 public:
  // Makes <run_dir>/usage when missing, locks it against a second process while this lives, and reads what is
  // not yet in the ledger. `run` says whose the records are: all members that do not depend on the attempt.
  // FailedPrecondition: another process holds the lock, or a record is of another run (the member is named).
  // DataLoss: a record is no usage statement; the path is named. Unavailable: the disk refuses.
  static absl::StatusOr<UsageLog> Open(const std::string& run_dir, ledger::TrainingStatement run);
  UsageLog(UsageLog&& other) noexcept;
  UsageLog& operator=(UsageLog&&) = delete;
  ~UsageLog();

  // Highest attempt in the folder; 0 when there is none.
  int64_t last_attempt() const { return last_attempt_; }
  // Attempts whose record is not marked as appended, ascending.
  const std::vector<int64_t>& pending() const { return pending_; }

  // The statement of an attempt, ready to be signed. Errors as Open.
  absl::StatusOr<ledger::TrainingStatement> Read(int64_t attempt) const;

  // Replaces the record of usage.attempt, durably; it becomes pending. `usage` adds up (asserted with
  // CheckUsage). Unavailable when the disk refuses; the record before it is then untouched.
  absl::Status Write(const ledger::TrainingUsage& usage);

  // The ledger has it. A mark that is lost costs one more append of the same bytes.
  void MarkAppended(int64_t attempt);

 private:
  UsageLog(std::string folder, ledger::TrainingStatement run, int lock_fd);

  std::string folder_;
  ledger::TrainingStatement run_;
  int lock_fd_;
  int64_t last_attempt_ = 0;
  std::vector<int64_t> pending_;
};

}  // namespace retort::train

#endif  // SERVICES_TRAIN_USAGE_LOG_H_
