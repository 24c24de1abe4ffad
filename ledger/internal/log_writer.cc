// The writing half of a log: queue, group commit, publication.
#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/strings/cord.h"
#include "ledger/hex.h"
#include "ledger/internal/log_impl.h"
#include "ledger/internal/status_text.h"
#include "ledger/merkle.h"

namespace retort::ledger {
namespace internal {

// A group is what waited, within bounds that keep one write well under a second and its memory small.
constexpr size_t kGroupEntriesMax = 1024;
constexpr size_t kGroupBytesMax = 32 << 20;

constexpr char kReusedPayload[] = "retort.dev/ledger/request-id-reused";

absl::Status RequestIdReused(std::string_view request_id, uint64_t index) {
  absl::Status status = absl::AlreadyExistsError("request id " + std::string(request_id) + " is entry " +
                                                 std::to_string(index) + " with other statements");
  status.SetPayload(kReusedPayload, absl::Cord("1"));
  return status;
}

}  // namespace internal

using internal::BigEndian;
using internal::Family;
using internal::PreparedAppend;
using internal::RequestRow;
using internal::Snapshot;
using internal::Store;

bool IsRequestIdReused(const absl::Status& status) {
  return status.GetPayload(internal::kReusedPayload).has_value();
}

Log::Impl::Impl(LogOptions options, VerifyingKey log_key, std::unique_ptr<Store> store)
    : options_(std::move(options)),
      keys_(std::move(log_key)),
      vault_(options_.vault_key, options_.origin),
      store_(std::move(store)),
      snapshot_(std::make_shared<Snapshot>()) {}

Log::Impl::~Impl() {
  {
    const std::lock_guard<std::mutex> lock(queue_mutex_);
    stopping_ = true;
  }
  queue_changed_.notify_all();
  if (writer_.joinable()) writer_.join();
}

void Log::Impl::StartWriter() {
  writer_ = std::thread([this] { RunWriter(); });
}

std::shared_ptr<const Snapshot> Log::Impl::Current() const {
  const std::lock_guard<std::mutex> lock(snapshot_mutex_);
  return snapshot_;
}

absl::StatusOr<AppendedEntry> Log::Impl::Append(AppendRequest request) {
  absl::StatusOr<PreparedAppend> prepared =
      PrepareAppend(std::move(request), options_.project, keys_, vault_);
  if (!prepared.ok()) return prepared.status();
  if (absl::Status status = CheckReferences(*prepared); !status.ok()) return status;
  return Submit(*std::move(prepared));
}

absl::Status Log::Impl::CheckReferences(const PreparedAppend& prepared) const {
  const uint64_t size = Current()->tree.size();
  for (const internal::Reference& reference : prepared.references) {
    bool found = false;
    for (const EntryKind kind : reference.kinds) {
      if (reference.index >= size) break;
      const auto row =
          store_->Get(Family::kIndex, internal::KindKey(static_cast<uint8_t>(kind), reference.index));
      if (!row.ok()) return row.status();
      found = found || row->has_value();
    }
    if (!found) {
      return absl::FailedPreconditionError(reference.member + " is " + std::to_string(reference.index) +
                                           "; wanted the index of a " +
                                           EntryKindName(reference.kinds.front()) + " entry of this log");
    }
    if (!reference.decision.has_value()) continue;
    const absl::StatusOr<StoredEntry> subject = ReadEntry(reference.index);
    if (!subject.ok()) return subject.status();
    if (Sha256(subject->entry.statements.back().statement) != *reference.decision) {
      return absl::FailedPreconditionError(
          reference.member + " is " + std::to_string(reference.index) +
          ", which holds another decision than the one that the statement names");
    }
  }
  for (const Digest& digest : prepared.named_attachments) {
    if (prepared.attachments.contains(digest)) continue;
    const auto stored = store_->Get(Family::kAttachments, AsView(digest));
    if (!stored.ok()) return stored.status();
    if (!stored->has_value()) {
      return absl::FailedPreconditionError("attachment " + HexEncode(digest) +
                                           " is named by the statement, but neither given nor in the log");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<AppendedEntry> Log::Impl::Submit(PreparedAppend prepared) {
  Waiting waiting{.prepared = std::move(prepared)};
  std::future<absl::StatusOr<AppendedEntry>> answer = waiting.answer.get_future();
  {
    const std::lock_guard<std::mutex> lock(queue_mutex_);
    assert(!stopping_ && "an append during destruction");
    if (queue_.size() >= options_.queue_max) {
      return absl::UnavailableError("the ledger has " + std::to_string(queue_.size()) +
                                    " appends waiting; try again");
    }
    queue_.push_back(&waiting);
  }
  queue_changed_.notify_one();
  return answer.get();
}

void Log::Impl::RunWriter() {
  while (true) {
    std::vector<Waiting*> group;
    {
      std::unique_lock<std::mutex> lock(queue_mutex_);
      queue_changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      size_t bytes = 0;
      while (!queue_.empty() && group.size() < internal::kGroupEntriesMax &&
             bytes < internal::kGroupBytesMax) {
        const PreparedAppend& next = queue_.front()->prepared;
        for (const SignedStatement& statement : next.statements) bytes += statement.statement.size();
        if (next.sealed.has_value()) bytes += next.sealed->ciphertext.size();
        for (const auto& [digest, content] : next.attachments) bytes += content.size();
        group.push_back(queue_.front());
        queue_.pop_front();
      }
    }
    std::vector<PreparedAppend*> prepared;
    for (Waiting* waiting : group) prepared.push_back(&waiting->prepared);
    std::vector<absl::StatusOr<AppendedEntry>> answers = Commit(prepared);
    assert(answers.size() == group.size());
    for (size_t i = 0; i < group.size(); ++i) group[i]->answer.set_value(std::move(answers[i]));
  }
}

std::vector<absl::StatusOr<AppendedEntry>> Log::Impl::Commit(const std::vector<PreparedAppend*>& group) {
  std::vector<absl::StatusOr<AppendedEntry>> answers;
  const std::shared_ptr<const Snapshot> before = Current();
  auto after = std::make_shared<Snapshot>(*before);
  Store::Batch batch(*store_);
  std::vector<internal::FullTile> completed;
  std::map<std::string, RequestRow> new_ids;       // request ids of this group
  std::map<std::string, size_t> new_answers;       // and where their answers are
  std::vector<size_t> appended;                    // answers that depend on the write
  std::vector<std::pair<size_t, size_t>> repeats;  // of a request earlier in this group

  for (const PreparedAppend* prepared : group) {
    const auto in_group = new_ids.find(prepared->request_id);
    std::optional<RequestRow> row;
    if (in_group != new_ids.end()) {
      row = in_group->second;
    } else {
      absl::StatusOr<std::optional<RequestRow>> stored = FindRequest(prepared->request_id);
      if (!stored.ok()) {
        answers.emplace_back(stored.status());
        continue;
      }
      row = *stored;
    }
    if (row.has_value() && row->content != prepared->content) {
      answers.emplace_back(internal::RequestIdReused(prepared->request_id, row->index));
    } else if (in_group != new_ids.end()) {
      repeats.emplace_back(answers.size(), new_answers[prepared->request_id]);
      answers.emplace_back(absl::UnknownError(""));
    } else if (row.has_value()) {
      answers.push_back(ReadAppended(row->index));
    } else if (read_only_) {
      answers.emplace_back(
          absl::UnavailableError("the ledger is read-only because a write failed; it must be opened again, "
                                 "which finds out what is on disk"));
    } else {
      Entry entry{.kind = prepared->kind,
                  .time_us = std::max(options_.now_us(), after->time_us),
                  .statements = prepared->statements};
      absl::StatusOr<std::string> leaf = EncodeEntry(entry);
      if (!leaf.ok()) {
        answers.emplace_back(leaf.status());
        continue;
      }
      AppendedEntry result{.index = after->tree.size(),
                           .time_us = entry.time_us,
                           .leaf_hash = LeafHash(*leaf),
                           .leaf = *std::move(leaf)};
      if (absl::Status status = AddToBatch(*prepared, result, batch); !status.ok()) {
        answers.emplace_back(status);
        continue;
      }
      after->time_us = result.time_us;
      after->tree.Append(result.leaf_hash, completed);
      new_ids[prepared->request_id] = RequestRow{result.index, prepared->content};
      new_answers[prepared->request_id] = answers.size();
      appended.push_back(answers.size());
      answers.emplace_back(std::move(result));
    }
  }

  if (!appended.empty()) {
    for (const internal::FullTile& tile : completed) {
      batch.Put(Family::kTiles, internal::TileKey(tile.level, tile.index), tile.hashes);
    }
    const Digest root = after->tree.Root();
    batch.Put(Family::kIndex, internal::MetaKey("head"),
              BigEndian(after->tree.size()) + std::string(AsView(root)));
    absl::Status status = store_->WriteSynced(batch);
    if (status.ok()) status = Publish(after);
    if (!status.ok()) {
      read_only_ = true;
      for (const size_t i : appended)
        answers[i] = absl::UnavailableError(std::string(internal::MessageOf(status)));
    }
  }
  for (const auto& [repeat, first] : repeats) {
    answers[repeat] = answers[first];
    if (answers[repeat].ok()) answers[repeat]->repeated = true;
  }
  return answers;
}

absl::Status Log::Impl::AddToBatch(const PreparedAppend& prepared, const AppendedEntry& entry,
                                   Store::Batch& batch) const {
  if (prepared.erased_sample.has_value()) {
    const auto erased = store_->Get(Family::kIndex, internal::ErasureKey(*prepared.erased_sample));
    if (!erased.ok()) return erased.status();
    if (erased->has_value()) return absl::FailedPreconditionError("the sample was erased before");
    batch.Put(Family::kIndex, internal::ErasureKey(*prepared.erased_sample), BigEndian(entry.index));
    batch.Delete(Family::kVaultKeys, BigEndian(*prepared.erased_sample));
    batch.Delete(Family::kPayloads, BigEndian(*prepared.erased_sample));
  }
  const std::string key = BigEndian(entry.index);
  batch.Put(Family::kEntries, key, entry.leaf);
  batch.Put(Family::kIndex, internal::KindKey(static_cast<uint8_t>(prepared.kind), entry.index), "");
  batch.Put(Family::kIndex, internal::RequestKey(prepared.request_id),
            key + std::string(AsView(prepared.content)));
  if (prepared.sample.has_value()) {
    batch.Put(Family::kIndex, internal::SampleKey(prepared.job_uid, entry.index), prepared.sample->Encode());
  }
  if (prepared.later_decision.has_value()) {
    const auto& [subject, effect] = *prepared.later_decision;
    batch.Put(Family::kIndex, internal::LaterDecisionKey(subject, entry.index),
              std::string(1, static_cast<char>(effect)));
  }
  if (prepared.review.has_value()) {
    const auto& [subject, approves] = *prepared.review;
    batch.Put(Family::kIndex, internal::ReviewKey(subject, entry.index), approves ? "a" : "r");
  }
  if (prepared.sealed.has_value()) {
    batch.Put(Family::kPayloads, key, prepared.sealed->ciphertext);
    batch.Put(Family::kVaultKeys, key, prepared.sealed->wrapped_key);
  }
  for (const auto& [digest, content] : prepared.attachments)
    batch.Put(Family::kAttachments, AsView(digest), content);
  return absl::OkStatus();
}

absl::Status Log::Impl::Publish(std::shared_ptr<const Snapshot> written) {
  // The entries are durable; only now may their head be signed. The note itself can be made again from them,
  // so it does not wait for the disk.
  auto snapshot = std::make_shared<Snapshot>(*written);
  snapshot->signed_checkpoint.checkpoint =
      Checkpoint{.origin = options_.origin, .size = snapshot->tree.size(), .root = snapshot->tree.Root()};
  snapshot->signed_checkpoint.note =
      SignCheckpoint(snapshot->signed_checkpoint.checkpoint, *options_.log_key);
  Store::Batch batch(*store_);
  batch.Put(Family::kIndex, internal::MetaKey("note"), snapshot->signed_checkpoint.note);
  const absl::Status status = store_->WriteUnsynced(batch);
  const std::lock_guard<std::mutex> lock(snapshot_mutex_);
  snapshot_ = std::move(snapshot);
  return status;
}

}  // namespace retort::ledger
