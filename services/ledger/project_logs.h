// The logs of one ledger service: one per project, opened or made on first use, each with its own folder.
#ifndef SERVICES_LEDGER_PROJECT_LOGS_H_
#define SERVICES_LEDGER_PROJECT_LOGS_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/log.h"
#include "ledger/signing.h"

namespace retort::services {

struct ProjectLogsOptions {
  std::string data_dir;                   // a folder per project is made in it
  std::string deployment;                 // the origin of a project's log is <deployment>/<project>
  ledger::SigningKey* log_key = nullptr;  // not owned; signs each log under the name of its origin
  std::array<uint8_t, 32> vault_key{};
  std::vector<ledger::TrustedKey> trusted_keys;
  std::function<int64_t()> now_us;  // microseconds since 1970
};

// A log that stopped after a failed write is opened again, which finds out what is on the disk, as soon as
// there is room and nobody uses it: whoever asks next does that. Calls that are under way keep the one they
// have.
//
// Thread-safe.
class ProjectLogs {
 public:
  explicit ProjectLogs(ProjectLogsOptions options);

  // Opens every log that is on disk already, so that damage shows at start and not with the first call. The
  // errors of ledger::Log::Open, led by the project.
  absl::Status OpenAll();

  // The log of a project; made when `create`. NotFound when there is none and `create` is false,
  // ResourceExhausted when the service has kProjectsMax logs, otherwise the errors of ledger::Log::Open.
  // Hold it for one call, not longer.
  absl::StatusOr<std::shared_ptr<ledger::Log>> Get(const std::string& project_id, bool create);

  // When the newest entry of all open logs was accepted, in microseconds since 1970; 0 without any.
  int64_t NewestEntryTimeUs();

  // Unavailable when an append would be refused now, naming the log or the disk: a log that stopped after a
  // failed write and could not be opened again yet, a file system without room or mounted read-only.
  absl::Status CheckAppendable();

  // Entries of all open logs, and how many of them came since each was opened.
  struct Entries {
    uint64_t all = 0, appended = 0;
  };
  Entries CountEntries();

  static constexpr size_t kProjectsMax = 1000;  // each holds open files and a thread

 private:
  struct OpenLog {
    std::unique_ptr<ledger::SigningKey> key;
    std::shared_ptr<ledger::Log> log;  // null while it cannot be opened again; shared with calls under way
    absl::Status closed;               // why it is null
    uint64_t entries_before = 0;       // that it had when this process first opened it
    std::chrono::steady_clock::time_point tried;
  };
  absl::StatusOr<OpenLog> Open(const std::string& project_id) const;
  void Mend(const std::string& project_id, OpenLog& open) const;

  const ProjectLogsOptions options_;
  std::mutex mutex_;
  std::map<std::string, OpenLog> logs_;  // guarded by mutex_
};

// Reads a vault key: 64 hex digits and an optional newline, in a file that only its owner can read. NotFound,
// FailedPrecondition (permissions) or InvalidArgument (form).
absl::StatusOr<std::array<uint8_t, 32>> LoadVaultKey(const std::string& path);

}  // namespace retort::services

#endif  // SERVICES_LEDGER_PROJECT_LOGS_H_
