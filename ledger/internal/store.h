// The database under a log: column families, keys, and the one place where RocksDB's statuses become ours.
//
// Everything that one commit changes goes through one Batch and one synced write. Keys are byte strings whose
// integers are big-endian, so that ranges iterate in numeric order. Implementation only; methods may be
// called from any thread.
#ifndef LEDGER_INTERNAL_STORE_H_
#define LEDGER_INTERNAL_STORE_H_

#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/digest.h"

namespace retort::ledger::internal {

enum class Family : uint8_t { kIndex, kEntries, kTiles, kPayloads, kVaultKeys, kAttachments };
inline constexpr size_t kFamilyCount = 6;

// Values of MetaKey("format") that this program can read, oldest first. A log of an older format is brought
// to the newest when it is opened for writing, after which older programs refuse it.
//   retort-log-1   entries of kinds up to TRAINING
//   retort-log-2   also REVIEW and ACCESS; nothing that was there changes
inline constexpr std::string_view kLogFormats[] = {"retort-log-1", "retort-log-2"};
inline constexpr std::string_view kLogFormat = kLogFormats[std::size(kLogFormats) - 1];

// FailedPrecondition, saying what was seen and what is known, for a format that is not of these.
absl::Status CheckLogFormat(std::string_view format);

// Length of the value of MetaKey("head"): big-endian size, then root.
inline constexpr size_t kHeadBytes = 8 + 32;

std::string BigEndian(uint64_t number);
uint64_t FromBigEndian(std::string_view bytes);  // of exactly eight bytes (asserted)

// Keys of Family::kIndex. The first byte says what a key is.
std::string MetaKey(std::string_view name);                       // 'm' name
std::string RequestKey(std::string_view request_id);              // 'r' id
std::string KindKey(uint8_t kind, uint64_t index);                // 'k' kind index
std::string SampleKey(std::string_view job_uid, uint64_t index);  // 's' SHA-256(job uid) index
std::string SamplePrefix(std::string_view job_uid);
std::string LaterDecisionKey(const Digest& subject, uint64_t index);  // 'd' subject index
std::string LaterDecisionPrefix(const Digest& subject);
std::string ErasureKey(uint64_t sample_entry);                  // 'e' index
std::string ReviewKey(uint64_t subject_entry, uint64_t index);  // 'v' subject index
std::string ReviewPrefix(uint64_t subject_entry);
// Key of Family::kTiles.
std::string TileKey(uint32_t level, uint64_t index);

class Store {
 public:
  // Opens or makes the database in `path`. FailedPrecondition when another process holds it; DataLoss when it
  // is corrupt; Unavailable when the disk refuses.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path, rocksdb::Env* storage);

  // Opens the database in `path` for reading beside a process that may hold it and write to it: no lock is
  // taken and nothing in `path` changes. What is seen is one state, that of the opening, and does not move
  // on. `scratch` is a folder of the caller's, made when missing. NotFound when there is no database;
  // otherwise the errors of Open. Reads answer Unavailable when the writer has removed a file that they need;
  // opening again finds the newer one.
  static absl::StatusOr<std::unique_ptr<Store>> OpenBeside(const std::string& path,
                                                           const std::string& scratch);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // The value, or nothing.
  absl::StatusOr<std::optional<std::string>> Get(Family family, std::string_view key) const;

  // Calls `visit` for keys that begin with `prefix`, from `prefix` + `from` on, in order, until it returns
  // false.
  absl::Status Scan(Family family, std::string_view prefix, std::string_view from,
                    const std::function<bool(std::string_view key, std::string_view value)>& visit) const;

  class Batch {
   public:
    explicit Batch(Store& store);
    void Put(Family family, std::string_view key, std::string_view value);
    void Delete(Family family, std::string_view key);

   private:
    friend class Store;
    Store& store_;
    rocksdb::WriteBatch batch_;
  };

  // Writes all of it or nothing and returns when it is on disk.
  absl::Status WriteSynced(Batch& batch);

  // Writes without waiting for the disk: only for what can be made again from the rest.
  absl::Status WriteUnsynced(Batch& batch);

  // Writes everything in here into `target`, which is empty, and returns when it is on disk.
  absl::Status CopyTo(Store& target) const;

  // Removes every older copy of a deleted key of `family` from the files of the database.
  absl::Status Purge(Family family, std::string_view key);

 private:
  Store() = default;
  rocksdb::ColumnFamilyHandle* Handle(Family family) const { return handles_[static_cast<size_t>(family)]; }

  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;  // owned by db_ through us: destroyed before it
};

}  // namespace retort::ledger::internal

#endif  // LEDGER_INTERNAL_STORE_H_
