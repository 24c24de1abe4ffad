// Entries that the log itself makes: datasets and erasures.
#include <map>
#include <utility>

#include "ledger/dataset_manifest.h"
#include "ledger/hex.h"
#include "ledger/internal/log_impl.h"
#include "ledger/internal/status_text.h"
#include "ledger/uuid.h"

namespace retort::ledger {

using internal::BigEndian;
using internal::Effect;
using internal::Family;
using internal::PreparedAppend;
using internal::SampleRow;

PreparedAppend Log::Impl::OwnStatement(EntryKind kind, StatementType type, std::string request_id,
                                       std::string statement) const {
  PreparedAppend prepared{.kind = kind};
  prepared.statements.push_back(SignStatement(*options_.log_key, type, std::move(statement)));
  prepared.request_id = std::move(request_id);
  prepared.content = internal::ContentDigest(kind, prepared.statements);
  return prepared;
}

absl::StatusOr<AppendedEntry> Log::Impl::CreateDataset(const DatasetRequest& request) {
  if (!IsUuid(request.request_id)) return absl::InvalidArgumentError("request_id is not a lower-case UUID");
  if (request.dataset.empty() || request.job.empty() || request.job_uid.empty()) {
    return absl::InvalidArgumentError("dataset, job and job_uid are required");
  }
  // Asked again, the first answer counts, although the job may have more samples by now.
  const auto same_again = [&](uint64_t index) -> absl::StatusOr<AppendedEntry> {
    absl::StatusOr<StoredEntry> stored = ReadEntry(index);
    if (!stored.ok()) return stored.status();
    if (stored->entry.kind == EntryKind::kDataset) {
      const absl::StatusOr<DatasetStatement> first =
          DatasetStatement::Parse(stored->entry.statements[0].statement);
      if (first.ok() && first->dataset == request.dataset && first->job == request.job &&
          first->job_uid == request.job_uid) {
        return ReadAppended(index);
      }
    }
    return internal::RequestIdReused(request.request_id, index);
  };
  absl::StatusOr<std::optional<internal::RequestRow>> known = FindRequest(request.request_id);
  if (!known.ok()) return known.status();
  if (known->has_value()) return same_again((*known)->index);

  struct Candidate {
    uint64_t index;
    SampleRow row;
  };
  const uint64_t size = Current()->tree.size();
  std::map<std::pair<bool, uint64_t>, Candidate> chosen;  // by (held out, prompt index): manifest order
  uint64_t asked = 0;
  absl::Status status =
      ForEachSample(request.job_uid, 0, size, [&](uint64_t index, const SampleRow& row) -> absl::Status {
        ++asked;
        if (row.effect == Effect::kDeny) return absl::OkStatus();
        const absl::StatusOr<SampleStanding> now = StandingAt(index, row, size);
        if (!now.ok()) return now.status();
        if (now->standing != Standing::kAdmitted) return absl::OkStatus();
        const auto [at, fresh] = chosen.try_emplace({row.held_out, row.prompt_index}, Candidate{index, row});
        if (!fresh && row.attempt < at->second.row.attempt) at->second = {index, row};
        return absl::OkStatus();
      });
  if (!status.ok()) return status;

  DatasetManifest manifest;
  DatasetStatement statement{.project = options_.project,
                             .request_id = request.request_id,
                             .dataset = request.dataset,
                             .job = request.job,
                             .job_uid = request.job_uid};
  for (const auto& [order, candidate] : chosen) {
    const absl::StatusOr<StoredEntry> stored = ReadEntry(candidate.index);
    if (!stored.ok()) return stored.status();
    const absl::StatusOr<CaptureStatement> capture =
        CaptureStatement::Parse(stored->entry.statements[0].statement);
    if (!capture.ok())
      return absl::DataLossError("entry " + std::to_string(candidate.index) + ": malformed capture");
    manifest.samples.push_back({.index = candidate.index,
                                .leaf_hash = stored->leaf_hash,
                                .prompt_id = capture->prompt_id,
                                .held_out = order.first});
    ++(order.first ? statement.held_out_samples : statement.train_samples);
  }
  if (statement.train_samples == 0) {
    return absl::FailedPreconditionError("none of the " + std::to_string(asked) + " samples of job " +
                                         request.job + " may be trained on");
  }
  statement.excluded_samples = static_cast<int64_t>(asked - manifest.samples.size());
  std::string manifest_json = manifest.ToJson();
  if (manifest_json.size() > kDatasetManifestBytesMax) {
    return absl::ResourceExhaustedError("dataset manifest of " + std::to_string(manifest_json.size()) +
                                        " bytes; at most " + std::to_string(kDatasetManifestBytesMax) +
                                        " are allowed");
  }
  const Digest digest = Sha256(manifest_json);
  statement.manifest_sha256 = HexEncode(digest);
  PreparedAppend prepared =
      OwnStatement(EntryKind::kDataset, StatementType::kDataset, request.request_id, statement.ToJson());
  prepared.attachments.emplace(digest, std::move(manifest_json));
  absl::StatusOr<AppendedEntry> appended = Submit(std::move(prepared));
  if (appended.ok() || !IsRequestIdReused(appended.status())) return appended;
  // Somebody froze it under the same request id meanwhile; theirs may be the same question with other
  // samples.
  known = FindRequest(request.request_id);
  if (!known.ok() || !known->has_value()) return appended;
  return same_again((*known)->index);
}

absl::StatusOr<AppendedEntry> Log::Impl::Erase(const ErasureRequest& request) {
  if (!IsUuid(request.request_id)) return absl::InvalidArgumentError("request_id is not a lower-case UUID");
  if (request.reason.empty() || request.authority.empty()) {
    return absl::InvalidArgumentError("an erasure needs a reason and an authority");
  }
  const absl::StatusOr<StoredEntry> sample = ReadEntry(request.sample_entry);
  if (!sample.ok()) return sample.status();
  if (sample->entry.kind != EntryKind::kSample) {
    return absl::InvalidArgumentError("entry " + std::to_string(request.sample_entry) + " is a " +
                                      EntryKindName(sample->entry.kind) + "; wanted a SAMPLE");
  }
  const ErasureStatement statement{.project = options_.project,
                                   .request_id = request.request_id,
                                   .sample_entry = static_cast<int64_t>(request.sample_entry),
                                   .sample_leaf_hash = HexEncode(sample->leaf_hash),
                                   .reason = request.reason,
                                   .authority = request.authority};
  PreparedAppend prepared =
      OwnStatement(EntryKind::kErasure, StatementType::kErasure, request.request_id, statement.ToJson());
  prepared.erased_sample = request.sample_entry;
  absl::StatusOr<AppendedEntry> appended = Submit(std::move(prepared));
  if (!appended.ok()) return appended;
  // Older copies of the key lie in the write-ahead log and in table files until they are rewritten.
  if (absl::Status status = store_->Purge(Family::kVaultKeys, BigEndian(request.sample_entry));
      !status.ok()) {
    return internal::About("the erasure is entry " + std::to_string(appended->index) +
                               ", but old copies of the key are not yet purged; ask again",
                           status);
  }
  return appended;
}

}  // namespace retort::ledger
