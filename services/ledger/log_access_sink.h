// ACCESS entries of the process that hosts the ledger role: straight into its logs, signed with the log's
// key.
#ifndef SERVICES_LEDGER_LOG_ACCESS_SINK_H_
#define SERVICES_LEDGER_LOG_ACCESS_SINK_H_

#include <string>

#include "ledger/signing.h"
#include "services/identity/access_audit.h"
#include "services/ledger/project_logs.h"

namespace retort::services {

// Thread-safe.
class LogAccessSink final : public AccessSink {
 public:
  // Neither is owned; both outlive the sink.
  LogAccessSink(ProjectLogs* logs, const ledger::SigningKey* log_key) : logs_(logs), log_key_(log_key) {}

  absl::StatusOr<bool> HasLog(const std::string& project) override;
  // The errors of ProjectLogs::Get and ledger::Log::Append.
  absl::Status Append(const std::string& project, const ledger::AccessStatement& statement) override;

 private:
  ProjectLogs* const logs_;
  const ledger::SigningKey* const log_key_;
};

}  // namespace retort::services

#endif  // SERVICES_LEDGER_LOG_ACCESS_SINK_H_
