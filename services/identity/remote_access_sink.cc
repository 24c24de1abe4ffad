#include "services/identity/remote_access_sink.h"

#include <utility>

#include "ledger/signed_statement.h"
#include "services/edge/channel.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

constexpr std::chrono::seconds kDeadline{5};

}  // namespace

RemoteAccessSink::RemoteAccessSink(std::unique_ptr<ledger::v1::LedgerService::StubInterface> stub,
                                   const ledger::SigningKey* key)
    : stub_(std::move(stub)), key_(key) {}

absl::StatusOr<bool> RemoteAccessSink::HasLog(const std::string& project) {
  {
    const std::lock_guard lock(mutex_);
    if (with_log_.contains(project)) return true;
  }
  grpc::ClientContext context;
  SetDeadline(context, kDeadline);
  ledger::v1::GetCheckpointRequest request;
  request.set_name("projects/" + project + "/ledgers/main");
  ledger::v1::Checkpoint response;
  const grpc::Status status = stub_->GetCheckpoint(&context, request, &response);
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) return false;
  if (!status.ok()) return FromGrpcStatus(status);
  const std::lock_guard lock(mutex_);
  with_log_.insert(project);
  return true;
}

absl::Status RemoteAccessSink::Append(const std::string& project, const ledger::AccessStatement& statement) {
  const ledger::SignedStatement access =
      ledger::SignStatement(*key_, ledger::StatementType::kAccess, statement.ToJson());
  ledger::v1::AppendEntryRequest request;
  request.set_parent("projects/" + project);
  request.set_kind(ledger::v1::ENTRY_KIND_ACCESS);
  auto* to = request.add_statements();
  to->set_statement(access.statement);
  to->set_signature(access.signature.data(), access.signature.size());
  to->set_key_id(access.key_id.data(), access.key_id.size());
  grpc::ClientContext context;
  SetDeadline(context, kDeadline);
  ledger::v1::Entry response;
  return FromGrpcStatus(stub_->AppendEntry(&context, request, &response));
}

}  // namespace retort::services
