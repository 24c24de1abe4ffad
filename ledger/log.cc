// The public face of a log, and its reading half.
#include "ledger/log.h"

#include <algorithm>
#include <utility>

#include "ledger/hex.h"
#include "ledger/internal/log_impl.h"
#include "ledger/internal/status_text.h"
#include "ledger/merkle.h"

namespace retort::ledger {

using internal::BigEndian;
using internal::Family;
using internal::FromBigEndian;
using internal::RequestRow;
using internal::SampleRow;
using internal::Snapshot;

namespace {

constexpr size_t kRequestRowBytes = 8 + 32;

absl::Status OutOfRange(std::string_view what, uint64_t seen, uint64_t size) {
  return absl::OutOfRangeError(std::string(what) + " is " + std::to_string(seen) + "; the log has " +
                               std::to_string(size) + " entries");
}

}  // namespace

absl::StatusOr<std::optional<RequestRow>> Log::Impl::FindRequest(std::string_view request_id) const {
  const auto row = store_->Get(Family::kIndex, internal::RequestKey(request_id));
  if (!row.ok()) return row.status();
  if (!row->has_value()) return std::optional<RequestRow>();
  if ((*row)->size() != kRequestRowBytes) return absl::DataLossError("request index row is malformed");
  RequestRow out{.index = FromBigEndian(std::string_view(**row).substr(0, 8))};
  std::copy((*row)->begin() + 8, (*row)->end(), out.content.begin());
  return std::optional<RequestRow>(out);
}

absl::StatusOr<StoredEntry> Log::Impl::ReadEntryFrom(const Snapshot& snapshot, const NodeSource& nodes,
                                                     uint64_t index) const {
  const std::string subject = "entry " + std::to_string(index);
  if (index >= snapshot.tree.size()) {
    return absl::NotFoundError(subject + ": the log has " + std::to_string(snapshot.tree.size()) +
                               " entries");
  }
  absl::StatusOr<std::optional<std::string>> leaf = store_->Get(Family::kEntries, BigEndian(index));
  if (!leaf.ok()) return leaf.status();
  if (!leaf->has_value()) return absl::DataLossError(subject + " is missing");
  StoredEntry stored{.index = index, .leaf_hash = LeafHash(**leaf)};
  const absl::StatusOr<Digest> wanted = nodes(NodeId{0, index});
  if (!wanted.ok()) return wanted.status();
  if (*wanted != stored.leaf_hash)
    return absl::DataLossError(subject + ": stored bytes do not match the tree");
  absl::StatusOr<Entry> entry = ParseEntry(**leaf);
  if (!entry.ok())
    return absl::DataLossError(subject + ": " + std::string(internal::MessageOf(entry.status())));
  stored.entry = *std::move(entry);
  stored.leaf = **std::move(leaf);
  return stored;
}

absl::StatusOr<StoredEntry> Log::Impl::ReadEntry(uint64_t index) const {
  const std::shared_ptr<const Snapshot> snapshot = Current();
  return ReadEntryFrom(*snapshot, snapshot->tree.Nodes(*store_), index);
}

absl::StatusOr<AppendedEntry> Log::Impl::ReadAppended(uint64_t index) const {
  absl::StatusOr<StoredEntry> stored = ReadEntry(index);
  if (!stored.ok()) return stored.status();
  return AppendedEntry{.index = index,
                       .time_us = stored->entry.time_us,
                       .leaf_hash = stored->leaf_hash,
                       .leaf = std::move(stored->leaf),
                       .repeated = true};
}

absl::Status Log::Impl::ForEachEntry(uint64_t first, uint64_t last, std::optional<EntryKind> kind,
                                     const std::function<absl::Status(const StoredEntry&)>& visit) const {
  const std::shared_ptr<const Snapshot> snapshot = Current();
  const NodeSource nodes = snapshot->tree.Nodes(*store_);
  last = std::min(last, snapshot->tree.size());
  absl::Status result;
  const auto visit_index = [&](uint64_t index) {
    const absl::StatusOr<StoredEntry> stored = ReadEntryFrom(*snapshot, nodes, index);
    result = stored.ok() ? visit(*stored) : stored.status();
    return result.ok();
  };
  if (!kind.has_value()) {
    for (uint64_t index = first; index < last && visit_index(index); ++index) {
    }
    return result;
  }
  const std::string prefix = internal::KindKey(static_cast<uint8_t>(*kind), 0).substr(0, 2);
  absl::Status scanned =
      store_->Scan(Family::kIndex, prefix, BigEndian(first), [&](std::string_view key, std::string_view) {
        const uint64_t index = FromBigEndian(key.substr(prefix.size()));
        return index < last && visit_index(index);
      });
  return result.ok() ? scanned : result;
}

absl::StatusOr<Payload> Log::Impl::ReadPayload(uint64_t index) const {
  const std::string subject = "payload of entry " + std::to_string(index);
  const absl::StatusOr<StoredEntry> stored = ReadEntry(index);
  if (!stored.ok()) return stored.status();
  if (stored->entry.kind != EntryKind::kSample) {
    return absl::NotFoundError(subject + ": a " + EntryKindName(stored->entry.kind) + " has none");
  }
  const auto wrapped = store_->Get(Family::kVaultKeys, BigEndian(index));
  if (!wrapped.ok()) return wrapped.status();
  const auto sealed = store_->Get(Family::kPayloads, BigEndian(index));
  if (!sealed.ok()) return sealed.status();
  if (!wrapped->has_value() || !sealed->has_value()) {
    const auto erased = store_->Get(Family::kIndex, internal::ErasureKey(index));
    if (!erased.ok()) return erased.status();
    if (erased->has_value()) return absl::NotFoundError(subject + " was erased");
    return absl::DataLossError(subject + " is missing");
  }
  const absl::StatusOr<CaptureStatement> capture =
      CaptureStatement::Parse(stored->entry.statements[0].statement);
  if (!capture.ok()) return absl::DataLossError(subject + ": the capture is malformed");
  absl::StatusOr<internal::OpenedPayload> opened = vault_.Open(**sealed, **wrapped, capture->payload_digest);
  if (!opened.ok()) return internal::About(subject, opened.status());
  if (HexEncode(SaltedDigest(opened->salt, opened->payload)) != capture->payload_digest) {
    return absl::DataLossError(subject + " does not match the digest in the capture");
  }
  return Payload{.payload = std::move(opened->payload), .salt = std::move(opened->salt)};
}

absl::StatusOr<std::string> Log::Impl::ReadAttachment(const Digest& sha256) const {
  absl::StatusOr<std::optional<std::string>> content = store_->Get(Family::kAttachments, AsView(sha256));
  if (!content.ok()) return content.status();
  if (!content->has_value()) return absl::NotFoundError("no attachment " + HexEncode(sha256));
  if (Sha256(**content) != sha256) {
    return absl::DataLossError("attachment " + HexEncode(sha256) + " does not match its digest");
  }
  return **std::move(content);
}

absl::Status Log::Impl::ForEachSample(
    std::string_view job_uid, uint64_t first, uint64_t size,
    const std::function<absl::Status(uint64_t, const SampleRow&)>& visit) const {
  const std::string prefix = internal::SamplePrefix(job_uid);
  absl::Status result;
  absl::Status scanned = store_->Scan(Family::kIndex, prefix, BigEndian(first),
                                      [&](std::string_view key, std::string_view value) {
                                        const uint64_t index = FromBigEndian(key.substr(prefix.size()));
                                        if (index >= size) return false;
                                        const absl::StatusOr<SampleRow> row = SampleRow::Decode(value);
                                        result = row.ok() ? visit(index, *row) : row.status();
                                        return result.ok();
                                      });
  return result.ok() ? scanned : result;
}

Log::Log(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Log::~Log() = default;

absl::StatusOr<AppendedEntry> Log::Append(AppendRequest request) {
  return impl_->Append(std::move(request));
}

absl::StatusOr<std::map<std::string, uint64_t>> Log::LookupRequests(
    const std::vector<std::string>& request_ids) const {
  const uint64_t size = impl_->Current()->tree.size();
  std::map<std::string, uint64_t> found;
  for (const std::string& request_id : request_ids) {
    const absl::StatusOr<std::optional<RequestRow>> row = impl_->FindRequest(request_id);
    if (!row.ok()) return row.status();
    if (row->has_value() && (*row)->index < size) found[request_id] = (*row)->index;
  }
  return found;
}

absl::StatusOr<StoredEntry> Log::ReadEntry(uint64_t index) const {
  return impl_->ReadEntry(index);
}

absl::Status Log::ForEachEntry(uint64_t first, uint64_t last, std::optional<EntryKind> kind,
                               const std::function<absl::Status(const StoredEntry&)>& visit) const {
  return impl_->ForEachEntry(first, last, kind, visit);
}

SignedCheckpoint Log::CheckpointNote() const {
  return impl_->Current()->signed_checkpoint;
}

absl::StatusOr<SignedCheckpoint> Log::CheckpointNoteAt(uint64_t size) const {
  const std::shared_ptr<const Snapshot> snapshot = impl_->Current();
  if (size > snapshot->tree.size()) return OutOfRange("tree size", size, snapshot->tree.size());
  if (size == snapshot->tree.size()) return snapshot->signed_checkpoint;
  const absl::StatusOr<Digest> root = TreeRoot(size, snapshot->tree.Nodes(impl_->store()));
  if (!root.ok()) return root.status();
  SignedCheckpoint result{.checkpoint = {.origin = origin(), .size = size, .root = *root}};
  result.note = SignCheckpoint(result.checkpoint, *impl_->options().log_key);
  return result;
}

absl::StatusOr<std::vector<Digest>> Log::InclusionProof(uint64_t index, uint64_t size) const {
  const std::shared_ptr<const Snapshot> snapshot = impl_->Current();
  if (size > snapshot->tree.size()) return OutOfRange("tree size", size, snapshot->tree.size());
  return ledger::InclusionProof(index, size, snapshot->tree.Nodes(impl_->store()));
}

absl::StatusOr<std::vector<Digest>> Log::ConsistencyProof(uint64_t first, uint64_t second) const {
  const std::shared_ptr<const Snapshot> snapshot = impl_->Current();
  if (second > snapshot->tree.size()) return OutOfRange("tree size", second, snapshot->tree.size());
  return ledger::ConsistencyProof(first, second, snapshot->tree.Nodes(impl_->store()));
}

absl::StatusOr<AppendedEntry> Log::CreateDataset(const DatasetRequest& request) {
  return impl_->CreateDataset(request);
}
absl::StatusOr<AppendedEntry> Log::Erase(const ErasureRequest& request) {
  return impl_->Erase(request);
}
absl::StatusOr<Payload> Log::ReadPayload(uint64_t index) const {
  return impl_->ReadPayload(index);
}
absl::StatusOr<std::string> Log::ReadAttachment(const Digest& sha256) const {
  return impl_->ReadAttachment(sha256);
}

absl::Status Log::ForEachAttachment(
    const std::function<absl::Status(const Digest& sha256, std::string_view content)>& visit) const {
  absl::Status result;
  absl::Status scanned =
      impl_->store().Scan(Family::kAttachments, "", "", [&](std::string_view key, std::string_view content) {
        Digest digest{};
        if (key.size() == digest.size()) std::copy(key.begin(), key.end(), digest.begin());
        result = Sha256(content) == digest
                     ? visit(digest, content)
                     : absl::DataLossError("attachment " + HexEncode(key) + " does not match its digest");
        return result.ok();
      });
  return result.ok() ? scanned : result;
}

bool Log::read_only() const {
  return impl_->read_only();
}
const std::string& Log::origin() const {
  return impl_->options().origin;
}
const std::string& Log::project() const {
  return impl_->options().project;
}
std::string Log::vkey() const {
  return impl_->options().log_key->vkey();
}

}  // namespace retort::ledger
