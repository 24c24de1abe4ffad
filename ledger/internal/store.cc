#include "ledger/internal/store.h"

#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>

#include <algorithm>
#include <cassert>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "ledger/no_auto_recovery.h"
#include "ledger/storage_log.h"

namespace retort::ledger::internal {
namespace {

constexpr const char* kFamilyNames[kFamilyCount] = {"default",  "entries",    "tiles",
                                                    "payloads", "vault_keys", "attachments"};
// Payloads with log-probabilities are tens of kilobytes: kept out of the levels, so that compaction does not
// rewrite them.
constexpr uint64_t kBlobBytesMin = 4096;
constexpr size_t kProtectionBytes = 8;

rocksdb::Slice ToSlice(std::string_view bytes) {
  return {bytes.data(), bytes.size()};
}
std::string_view ToView(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

// The one translation of RocksDB's statuses.
absl::Status Translate(const rocksdb::Status& status, std::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = status.ToString();
  const std::string message = std::string(what) + ": " + text;
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (text.find("lock file") != std::string::npos || text.find("lock hold") != std::string::npos) {
    return absl::FailedPreconditionError(std::string(what) + ": another process holds the log open (" + text +
                                         ")");
  }
  if (status.IsNoSpace())
    return absl::UnavailableError(std::string(what) + ": the disk is full (" + text + ")");
  if (status.IsInvalidArgument())
    return absl::DataLossError(message);  // families or formats that are not ours
  return absl::UnavailableError(message);
}

rocksdb::ColumnFamilyOptions FamilyOptions(Family family) {
  rocksdb::ColumnFamilyOptions options;
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  if (family == Family::kPayloads) {
    options.compression = rocksdb::kNoCompression;  // ciphertext does not shrink
    options.enable_blob_files = true;
    options.min_blob_size = kBlobBytesMin;
    options.enable_blob_garbage_collection = true;
  }
  return options;
}

// What every way of opening shares.
rocksdb::DBOptions DatabaseOptions() {
  rocksdb::DBOptions options;
  options.paranoid_checks = true;
  // A record that a crash cut off at the very end was never acknowledged and may go; a damaged record
  // anywhere else would take acknowledged entries with it, so it must stop the opening.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.wal_compression = rocksdb::kNoCompression;  // 7.8 can lose compressed records on recovery
  options.keep_log_file_num = 4;
  options.info_log = std::make_shared<StorageLog>();
  return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> AllFamilies() {
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (size_t i = 0; i < kFamilyCount; ++i) {
    families.emplace_back(kFamilyNames[i], FamilyOptions(static_cast<Family>(i)));
  }
  return families;
}

}  // namespace

absl::Status CheckLogFormat(std::string_view format) {
  if (std::find(std::begin(kLogFormats), std::end(kLogFormats), format) != std::end(kLogFormats))
    return absl::OkStatus();
  return absl::FailedPreconditionError(
      "saw storage format '" + std::string(format.substr(0, 32)) + "', wanted " + std::string(kLogFormat) +
      " or older: a newer program wrote it; run that one, or restore a backup from before the upgrade");
}

std::string BigEndian(uint64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift);
  return bytes;
}

uint64_t FromBigEndian(std::string_view bytes) {
  assert(bytes.size() == 8);
  uint64_t number = 0;
  for (const char c : bytes) number = number << 8 | static_cast<uint8_t>(c);
  return number;
}

std::string MetaKey(std::string_view name) {
  return "m" + std::string(name);
}
std::string RequestKey(std::string_view request_id) {
  return "r" + std::string(request_id);
}
std::string KindKey(uint8_t kind, uint64_t index) {
  return std::string("k") + static_cast<char>(kind) + BigEndian(index);
}
std::string SamplePrefix(std::string_view job_uid) {
  return "s" + std::string(AsView(Sha256(job_uid)));
}
std::string SampleKey(std::string_view job_uid, uint64_t index) {
  return SamplePrefix(job_uid) + BigEndian(index);
}
std::string LaterDecisionPrefix(const Digest& subject) {
  return "d" + std::string(AsView(subject));
}
std::string LaterDecisionKey(const Digest& subject, uint64_t index) {
  return LaterDecisionPrefix(subject) + BigEndian(index);
}
std::string ErasureKey(uint64_t sample_entry) {
  return "e" + BigEndian(sample_entry);
}
std::string ReviewPrefix(uint64_t subject_entry) {
  return "v" + BigEndian(subject_entry);
}
std::string ReviewKey(uint64_t subject_entry, uint64_t index) {
  return ReviewPrefix(subject_entry) + BigEndian(index);
}
std::string TileKey(uint32_t level, uint64_t index) {
  return std::string(1, static_cast<char>(level)) + BigEndian(index);
}

absl::StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& path, rocksdb::Env* storage) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return absl::UnavailableError("folder " + path + ": " + error.message());

  rocksdb::DBOptions options = DatabaseOptions();
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.track_and_verify_wals_in_manifest = true;
  options.max_total_wal_size = 256 << 20;
  if (storage != nullptr) options.env = storage;
  options.listeners.push_back(std::make_shared<NoAutoRecovery>());

  std::unique_ptr<Store> store(new Store);
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, path, AllFamilies(), &store->handles_, &db);
  if (!status.ok()) return Translate(status, "ledger database " + path);
  store->db_.reset(db);
  return store;
}

absl::StatusOr<std::unique_ptr<Store>> Store::OpenBeside(const std::string& path,
                                                         const std::string& scratch) {
  std::error_code error;
  if (!std::filesystem::exists(path + "/CURRENT", error)) {
    return absl::NotFoundError("ledger database " + path + ": there is none");
  }
  rocksdb::DBOptions options = DatabaseOptions();
  // A secondary keeps every file open, so that one that the writer removes stays readable.
  options.max_open_files = -1;
  std::unique_ptr<Store> store(new Store);
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::OpenAsSecondary(options, path, scratch, AllFamilies(), &store->handles_, &db);
  if (!status.ok()) return Translate(status, "ledger database " + path);
  store->db_.reset(db);
  return store;
}

Store::~Store() {
  if (db_ == nullptr) return;
  for (rocksdb::ColumnFamilyHandle* handle : handles_) db_->DestroyColumnFamilyHandle(handle);
  db_->Close();
}

absl::StatusOr<std::optional<std::string>> Store::Get(Family family, std::string_view key) const {
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  std::string value;
  const rocksdb::Status status = db_->Get(options, Handle(family), ToSlice(key), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return Translate(status, "ledger read");
  return std::optional<std::string>(std::move(value));
}

absl::Status Store::Scan(Family family, std::string_view prefix, std::string_view from,
                         const std::function<bool(std::string_view, std::string_view)>& visit) const {
  rocksdb::ReadOptions options;
  options.verify_checksums = true;
  options.total_order_seek = true;
  const std::unique_ptr<rocksdb::Iterator> iterator(db_->NewIterator(options, Handle(family)));
  for (iterator->Seek(std::string(prefix) + std::string(from)); iterator->Valid(); iterator->Next()) {
    const std::string_view key = ToView(iterator->key());
    if (!key.starts_with(prefix)) break;
    if (!visit(key, ToView(iterator->value()))) break;
  }
  return Translate(iterator->status(), "ledger scan");
}

Store::Batch::Batch(Store& store) : store_(store), batch_(0, 0, kProtectionBytes, 0) {}

void Store::Batch::Put(Family family, std::string_view key, std::string_view value) {
  const rocksdb::Status status = batch_.Put(store_.Handle(family), ToSlice(key), ToSlice(value));
  assert(status.ok());
  (void)status;
}

void Store::Batch::Delete(Family family, std::string_view key) {
  const rocksdb::Status status = batch_.Delete(store_.Handle(family), ToSlice(key));
  assert(status.ok());
  (void)status;
}

absl::Status Store::WriteSynced(Batch& batch) {
  rocksdb::WriteOptions options;
  options.sync = true;
  options.disableWAL = false;
  options.protection_bytes_per_key = kProtectionBytes;
  return Translate(db_->Write(options, &batch.batch_), "ledger write");
}

absl::Status Store::WriteUnsynced(Batch& batch) {
  rocksdb::WriteOptions options;
  options.sync = false;
  options.disableWAL = false;
  options.protection_bytes_per_key = kProtectionBytes;
  return Translate(db_->Write(options, &batch.batch_), "ledger write");
}

absl::Status Store::CopyTo(Store& target) const {
  constexpr size_t kBatchBytes = 4 << 20;
  rocksdb::ReadOptions reading;
  reading.verify_checksums = true;
  reading.total_order_seek = true;
  rocksdb::WriteOptions writing;
  writing.disableWAL = true;  // the flush below makes it durable, once
  for (size_t i = 0; i < kFamilyCount; ++i) {
    const std::unique_ptr<rocksdb::Iterator> row(db_->NewIterator(reading, handles_[i]));
    rocksdb::WriteBatch batch(0, 0, kProtectionBytes, 0);
    for (row->SeekToFirst(); row->Valid(); row->Next()) {
      rocksdb::Status status = batch.Put(target.handles_[i], row->key(), row->value());
      if (status.ok() && batch.GetDataSize() >= kBatchBytes) {
        status = target.db_->Write(writing, &batch);
        batch.Clear();
      }
      if (!status.ok()) return Translate(status, "ledger copy");
    }
    if (!row->status().ok()) return Translate(row->status(), "ledger copy, reading");
    const rocksdb::Status status = target.db_->Write(writing, &batch);
    if (!status.ok()) return Translate(status, "ledger copy");
  }
  return Translate(target.db_->Flush(rocksdb::FlushOptions(), target.handles_), "ledger copy, flush");
}

absl::Status Store::Purge(Family family, std::string_view key) {
  // First out of the write-ahead log, which goes when every family is flushed; then out of the table files.
  const rocksdb::Status flushed = db_->Flush(rocksdb::FlushOptions(), handles_);
  if (!flushed.ok()) return Translate(flushed, "ledger flush");
  rocksdb::CompactRangeOptions options;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  const std::string end = std::string(key) + '\0';
  const rocksdb::Slice first = ToSlice(key);
  const rocksdb::Slice last = ToSlice(end);
  return Translate(db_->CompactRange(options, Handle(family), &first, &last), "ledger compaction");
}

}  // namespace retort::ledger::internal
