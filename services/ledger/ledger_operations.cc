#include "services/ledger/ledger_operations.h"

#include <utility>

#include "ledger/digest.h"
#include "ledger/hex.h"
#include "ledger/verify/log_audit.h"
#include "retort/ledger/v1/ledger.pb.h"
#include "services/edge/resource_name.h"
#include "services/edge/status.h"
#include "services/ledger/convert.h"
#include "services/ledger/evidence_files.h"

namespace retort::services {
namespace {

using google::protobuf::Any;

constexpr uint64_t kToldEvery = 256;

absl::Status Stopped() {
  return WithReason(absl::CancelledError("somebody cancelled the operation"), CANCELLED);
}

absl::StatusOr<std::shared_ptr<ledger::Log>> LogNamed(ProjectLogs& logs, const std::string& name) {
  auto ids = ParseResourceName("name", name, "projects/*/ledgers/main");
  if (!ids.ok()) return ids.status();
  return logs.Get(ids->front(), /*create=*/false);
}

Any Packed(const google::protobuf::Message& message) {
  Any any;
  any.PackFrom(message);
  return any;
}

Any Describe(const operations::v1::OperationRecord& record) {
  ledger::v1::LedgerOperationMetadata metadata;
  metadata.set_target(record.name().substr(0, record.name().find("/operations/")) + "/ledgers/main");
  metadata.set_verb(record.verb());
  *metadata.mutable_create_time() = record.create_time();
  if (record.has_end_time()) *metadata.mutable_end_time() = record.end_time();
  metadata.set_entries_done(record.done_count());
  metadata.set_entries_total(record.total_count());
  metadata.set_cancel_requested(record.cancel_requested());
  return Packed(metadata);
}

absl::StatusOr<Any> Export(ProjectLogs& logs, const Any& any, OperationProgress& progress) {
  ledger::v1::ExportEvidenceRequest request;
  if (!any.UnpackTo(&request)) return absl::DataLossError("the stored request does not parse");
  auto log = LogNamed(logs, request.name());
  if (!log.ok()) return log.status();
  const auto checkpoint = (*log)->CheckpointNote();
  const auto total = static_cast<int64_t>(checkpoint.checkpoint.size);
  ledger::v1::ExportEvidenceResponse response;
  response.set_name(request.name());
  response.set_tree_size(total);
  response.set_root(BytesOf(checkpoint.checkpoint.root));
  ledger::Sha256Hasher content_hash;
  int64_t done = 0;
  progress.Set(0, total);
  const auto status =
      ForEachEvidenceFile(**log, checkpoint, [&](const std::string& path, std::string_view content) {
        if (progress.Stopped()) return Stopped();
        response.set_file_count(response.file_count() + 1);
        response.set_total_bytes(response.total_bytes() + static_cast<int64_t>(content.size()));
        content_hash.Update(path);
        content_hash.Update(std::string_view("\0", 1));
        content_hash.Update(ledger::AsView(ledger::Sha256(content)));
        if (path.starts_with("tile/entries/")) done = std::min<int64_t>(total, done + 256);
        progress.Set(done, total);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  response.set_content_sha256(BytesOf(content_hash.Finish()));
  return Packed(response);
}

absl::StatusOr<Any> Verify(ProjectLogs& logs, const Any& any, OperationProgress& progress) {
  ledger::v1::VerifyLedgerRequest request;
  if (!any.UnpackTo(&request)) return absl::DataLossError("the stored request does not parse");
  auto found = LogNamed(logs, request.name());
  if (!found.ok()) return found.status();
  const ledger::Log& log = **found;
  const auto checkpoint = log.CheckpointNote();
  const uint64_t size = checkpoint.checkpoint.size;
  auto audit =
      ledger::LogAudit::Create(log.vkey(), [&](const std::string& sha256) -> std::optional<std::string> {
        const auto digest = ledger::DigestFromHex(sha256);
        if (!digest.ok()) return std::nullopt;
        auto content = log.ReadAttachment(*digest);
        if (!content.ok()) return std::nullopt;
        return *std::move(content);
      });
  if (!audit.ok()) return audit.status();
  const auto status = log.ForEachEntry(0, size, {}, [&](const ledger::StoredEntry& entry) {
    if (entry.index % kToldEvery == 0) {
      if (progress.Stopped()) return Stopped();
      progress.Set(static_cast<int64_t>(entry.index), static_cast<int64_t>(size));
    }
    audit->Take(entry.leaf);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  progress.Set(static_cast<int64_t>(size), static_cast<int64_t>(size));
  const ledger::VerifyReport report = audit->Finish(checkpoint.note);
  if (!report.findings.empty()) {
    const ledger::Finding& first = report.findings.front();
    return WithReason(absl::DataLossError("the log does not hold: " + first.ToString()), LEDGER_CORRUPT,
                      {{"where", first.where}, {"findings", std::to_string(report.findings.size())}});
  }
  ledger::v1::VerifyLedgerResponse response;
  response.set_name(request.name());
  response.set_tree_size(static_cast<int64_t>(size));
  response.set_root(BytesOf(checkpoint.checkpoint.root));
  for (const ledger::Checked& checked : report.checked) {
    auto* fact = response.add_checked();
    fact->set_what(checked.what);
    fact->set_count(static_cast<int64_t>(checked.count));
  }
  for (const std::string& sentence : report.not_checked) response.add_not_checked(sentence);
  return Packed(response);
}

}  // namespace

OperationHost::Verbs LedgerVerbs(ProjectLogs* logs) {
  return {
      {kExportEvidence,
       {[logs](const Any& request, OperationProgress& progress) { return Export(*logs, request, progress); },
        Describe}},
      {kVerifyLedger,
       {[logs](const Any& request, OperationProgress& progress) { return Verify(*logs, request, progress); },
        Describe}}};
}

}  // namespace retort::services
