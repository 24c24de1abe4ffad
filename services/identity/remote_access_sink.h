// ACCESS entries of a process that does not host the ledger role: signed here, appended over there.
#ifndef SERVICES_IDENTITY_REMOTE_ACCESS_SINK_H_
#define SERVICES_IDENTITY_REMOTE_ACCESS_SINK_H_

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "ledger/signing.h"
#include "retort/ledger/v1/ledger.grpc.pb.h"
#include "services/identity/access_audit.h"

namespace retort::services {

// Thread-safe. Every call has a deadline of a few seconds and is made once.
class RemoteAccessSink final : public AccessSink {
 public:
  // `key` is that of a role which the log knows (teacher, policy or jobs); not owned.
  RemoteAccessSink(std::unique_ptr<ledger::v1::LedgerService::StubInterface> stub,
                   const ledger::SigningKey* key);

  absl::StatusOr<bool> HasLog(const std::string& project) override;
  // The errors of LedgerService.AppendEntry.
  absl::Status Append(const std::string& project, const ledger::AccessStatement& statement) override;

 private:
  const std::unique_ptr<ledger::v1::LedgerService::StubInterface> stub_;
  const ledger::SigningKey* const key_;
  std::mutex mutex_;
  std::set<std::string> with_log_;  // guarded by mutex_: logs do not go away
};

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_REMOTE_ACCESS_SINK_H_
