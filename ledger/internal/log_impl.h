// The parts of a Log behind its public face. Implementation only.
//
// Three things are shared between threads: the queue of prepared appends, the newest snapshot (tree and
// checkpoint), and the read-only flag. The writer thread alone appends: it copies the snapshot, writes one
// synced batch, signs, publishes. Everything else is immutable once Open has returned.
#ifndef LEDGER_INTERNAL_LOG_IMPL_H_
#define LEDGER_INTERNAL_LOG_IMPL_H_

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "ledger/internal/prepared_append.h"
#include "ledger/internal/store.h"
#include "ledger/internal/stored_tree.h"
#include "ledger/internal/vault.h"
#include "ledger/key_registry.h"
#include "ledger/log.h"

namespace retort::ledger {

namespace internal {

// A state of the log that readers can keep while it grows.
struct Snapshot {
  StoredTree tree;
  SignedCheckpoint signed_checkpoint;
  int64_t time_us = 0;  // of the newest entry
};

// What the index keeps of a request id.
struct RequestRow {
  uint64_t index = 0;
  Digest content{};
};

absl::Status RequestIdReused(std::string_view request_id, uint64_t index);

}  // namespace internal

class Log::Impl {
 public:
  Impl(LogOptions options, VerifyingKey log_key, std::unique_ptr<internal::Store> store);
  ~Impl();

  // Open, in order; see log_open.cc.
  absl::Status CheckOrMakeIdentity();
  absl::Status LoadTree();
  absl::Status LoadKeys();
  absl::Status RegisterKeys();
  void StartWriter();

  absl::StatusOr<AppendedEntry> Append(AppendRequest request);
  absl::StatusOr<AppendedEntry> CreateDataset(const DatasetRequest& request);
  absl::StatusOr<AppendedEntry> Erase(const ErasureRequest& request);

  absl::StatusOr<std::optional<internal::RequestRow>> FindRequest(std::string_view request_id) const;
  absl::StatusOr<StoredEntry> ReadEntry(uint64_t index) const;
  absl::Status ForEachEntry(uint64_t first, uint64_t last, std::optional<EntryKind> kind,
                            const std::function<absl::Status(const StoredEntry&)>& visit) const;
  absl::StatusOr<Payload> ReadPayload(uint64_t index) const;
  absl::StatusOr<std::string> ReadAttachment(const Digest& sha256) const;
  absl::Status ForEachSample(
      std::string_view job_uid, uint64_t first, uint64_t size,
      const std::function<absl::Status(uint64_t index, const internal::SampleRow&)>& visit) const;

  // What stands about the sample of entry `index` in a tree of `size`.
  absl::StatusOr<SampleStanding> StandingAt(uint64_t index, const internal::SampleRow& row,
                                            uint64_t size) const;

  // Never null; shared because readers keep it while the writer publishes the next.
  std::shared_ptr<const internal::Snapshot> Current() const;

  const LogOptions& options() const { return options_; }
  const internal::Store& store() const { return *store_; }
  bool read_only() const { return read_only_.load(); }

 private:
  struct Waiting {
    internal::PreparedAppend prepared;
    std::promise<absl::StatusOr<AppendedEntry>> answer;
  };
  struct Outcome;

  // Queues and waits for the writer's answer.
  absl::StatusOr<AppendedEntry> Submit(internal::PreparedAppend prepared);
  void RunWriter();
  // Appends what is new in one synced write and returns an answer for each. Only for one thread at a time.
  std::vector<absl::StatusOr<AppendedEntry>> Commit(const std::vector<internal::PreparedAppend*>& group);
  absl::Status AddToBatch(const internal::PreparedAppend& prepared, const AppendedEntry& entry,
                          internal::Store::Batch& batch) const;
  absl::Status Publish(std::shared_ptr<const internal::Snapshot> snapshot);

  absl::StatusOr<AppendedEntry> ReadAppended(uint64_t index) const;
  absl::StatusOr<StoredEntry> ReadEntryFrom(const internal::Snapshot& snapshot, const NodeSource& nodes,
                                            uint64_t index) const;
  absl::Status CheckReferences(const internal::PreparedAppend& prepared) const;
  internal::PreparedAppend OwnStatement(EntryKind kind, StatementType type, std::string request_id,
                                        std::string statement) const;

  const LogOptions options_;
  KeyRegistry keys_;  // changes only inside Open
  const internal::Vault vault_;
  const std::unique_ptr<internal::Store> store_;

  mutable std::mutex snapshot_mutex_;
  std::shared_ptr<const internal::Snapshot> snapshot_ ABSL_GUARDED_BY(snapshot_mutex_);
  std::atomic<bool> read_only_{false};

  std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::deque<Waiting*> queue_ ABSL_GUARDED_BY(queue_mutex_);  // each owned by the caller that waits for it
  bool stopping_ ABSL_GUARDED_BY(queue_mutex_) = false;
  std::thread writer_;
};

}  // namespace retort::ledger

#endif  // LEDGER_INTERNAL_LOG_IMPL_H_
