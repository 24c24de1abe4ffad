// The access file of a server, read again while it runs.
#ifndef SERVICES_IDENTITY_ACCESS_FILE_H_
#define SERVICES_IDENTITY_ACCESS_FILE_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "services/identity/access_table.h"
#include "services/identity/periodic.h"

namespace retort::services {

struct AccessFileOptions {
  std::string path;
  // How old what table() returns may be.
  std::chrono::milliseconds refresh = std::chrono::seconds(5);
  // Gets a line when the file was read anew, and one every minute while it is not valid.
  std::function<void(const std::string&)> say;
};

// Thread-safe.
class AccessFile {
 public:
  // Reads the file. NotFound or Unavailable when it cannot be read, InvalidArgument as LoadYaml and
  // AccessTable::Make say, FailedPrecondition when group or others may write to it.
  static absl::StatusOr<std::unique_ptr<AccessFile>> Open(AccessFileOptions options);

  // The newest valid table. It stays as it is for whoever holds it.
  std::shared_ptr<const AccessTable> table() const;

  // Looks at the file now: a changed digest is a new table. The errors of Open; the table stays then.
  absl::Status Refresh();

  // Times that the file was changed to something that is not valid, for
  // retort_authz_policy_reload_failures_total.
  int64_t reload_failures() const { return reload_failures_; }

 private:
  explicit AccessFile(AccessFileOptions options);
  void RefreshAndSay();

  const AccessFileOptions options_;
  mutable std::mutex mutex_;
  std::string sha256_;          // guarded by mutex_: of what table_ was made from
  std::string refused_sha256_;  // guarded by mutex_: of the newest content that was not valid
  // Shared with calls under way, which go on with the table that they began with. Guarded by mutex_.
  std::shared_ptr<const AccessTable> table_;
  std::atomic<int64_t> reload_failures_{0};
  std::chrono::steady_clock::time_point said_{};  // used by refresher_ alone
  std::optional<Periodic> refresher_;             // last: it uses the others
};

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_ACCESS_FILE_H_
