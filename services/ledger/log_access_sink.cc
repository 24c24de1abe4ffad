#include "services/ledger/log_access_sink.h"

#include <utility>

#include "ledger/signed_statement.h"

namespace retort::services {

absl::StatusOr<bool> LogAccessSink::HasLog(const std::string& project) {
  const auto log = logs_->Get(project, /*create=*/false);
  if (log.status().code() == absl::StatusCode::kNotFound) return false;
  if (!log.ok()) return log.status();
  return true;
}

absl::Status LogAccessSink::Append(const std::string& project, const ledger::AccessStatement& statement) {
  auto log = logs_->Get(project, /*create=*/true);
  if (!log.ok()) return log.status();
  ledger::AppendRequest request{.kind = ledger::EntryKind::kAccess};
  request.statements = {ledger::SignStatement(*log_key_, ledger::StatementType::kAccess, statement.ToJson())};
  return (*log)->Append(std::move(request)).status();
}

}  // namespace retort::services
