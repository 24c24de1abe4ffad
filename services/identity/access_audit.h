// Brings what was let in and what was refused into the ledger, as ACCESS entries.
//
// An allowed call is written down before it is carried out: Allow returns when the entry is durable, and a
// caller that gets an error does nothing. Refusals must not let a hostile peer write as much as it likes, so
// they are counted: the first of a kind is written at once, further ones are one entry an interval with their
// count, and there is a bound on kinds. A refusal is a refusal whether or not it could be written yet; its
// count is kept and tried again.
#ifndef SERVICES_IDENTITY_ACCESS_AUDIT_H_
#define SERVICES_IDENTITY_ACCESS_AUDIT_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "ledger/statement.h"

namespace retort::services {

// Where ACCESS entries go: the logs of this process or of another. Thread-safe.
class AccessSink {
 public:
  virtual ~AccessSink() = default;
  // Whether the project of this id has a log. Unavailable when that cannot be found out.
  virtual absl::StatusOr<bool> HasLog(const std::string& project) = 0;
  // Signs and appends to the log of the project of this id, which is made when there is none; durable when it
  // returns OK.
  virtual absl::Status Append(const std::string& project, const ledger::AccessStatement& statement) = 0;
};

struct Refusal {
  std::string identity;  // empty: the certificate has none that counts
  std::string method;
  std::string project;  // id, as asked for; empty when the request names none
  std::string reason;   // a value of ErrorReason
  auto operator<=>(const Refusal&) const = default;
};

struct AccessAuditOptions {
  AccessSink* sink = nullptr;  // not owned, outlives the audit
  // At most one entry per kind of refusal in this time.
  std::chrono::milliseconds interval = std::chrono::minutes(1);
  // After a write that failed.
  std::chrono::milliseconds retry = std::chrono::seconds(5);
  // Kinds that are kept apart; what comes beyond is counted by identity alone, beyond twice as many together.
  size_t kinds_max = 1024;
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
  // Gets a line when refusals cannot be written, at most one an interval.
  std::function<void(const std::string&)> say;
};

// Thread-safe.
class AccessAudit {
 public:
  explicit AccessAudit(AccessAuditOptions options);
  // Writes what is still counted, once; what the sink refuses then is lost.
  ~AccessAudit();
  AccessAudit(const AccessAudit&) = delete;
  AccessAudit& operator=(const AccessAudit&) = delete;

  // Unavailable (LEDGER_UNAVAILABLE) unless the allowance is in the project's log.
  absl::Status Allow(const std::string& identity, const std::string& method, const std::string& project,
                     const std::string& resource);

  // Counts. Never waits for the ledger.
  void Refuse(const Refusal& refusal);

 private:
  struct Count {
    int64_t calls = 0;
    std::chrono::system_clock::time_point first, last;
    std::chrono::steady_clock::time_point due;  // not written before
  };
  void Run();
  // Writes what is due, or all; returns when to look again.
  std::chrono::steady_clock::time_point WriteDue(std::unique_lock<std::mutex>& lock, bool all);
  // The statement of a kind; of the project whose log it goes to.
  absl::Status Write(const std::string& log, const Refusal& refusal, const Count& count);
  Count& Add(Refusal kind, const Count& count);
  void Complain(const absl::Status& status);

  const AccessAuditOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // A kind stays for an interval after it was written, with no calls, so that the next ones wait.
  std::map<Refusal, Count> counts_;  // guarded by mutex_
  bool stopping_ = false;            // guarded by mutex_
  std::chrono::steady_clock::time_point complained_{};
  std::thread writer_;  // last: it uses the others
};

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_ACCESS_AUDIT_H_
