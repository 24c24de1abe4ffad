#include "services/storage/row_store.h"

#include <openssl/rand.h>

#include "ledger/no_auto_recovery.h"
#include "ledger/storage_log.h"
#include "rocksdb/db.h"
#include "rocksdb/write_batch.h"
#include "services/edge/disk_room.h"
#include "services/storage/format.h"

namespace retort::services {
namespace {

constexpr size_t kProtectionBytes = 8;  // RocksDB checks each key and value of a batch up to the log
constexpr char kTokenKey[] = "meta/token_key";
// 1: the first that says so; rows are those of before.
constexpr int kFormat = 1;

// The one translation of RocksDB's statuses here.
absl::Status FromRocks(const rocksdb::Status& status, const std::string& what) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = what + ": " + status.ToString();
  if (status.IsCorruption()) return absl::DataLossError(text);
  const bool held = text.find("While lock file") != std::string::npos ||
                    text.find("lock hold by current process") != std::string::npos;
  if (status.IsIOError() && held)
    return absl::FailedPreconditionError(text + "; another process has it open");
  return absl::UnavailableError(text);
}

}  // namespace

struct RowStore::Impl {
  std::filesystem::path folder;
  std::string what;
  std::unique_ptr<rocksdb::DB> db;
};

RowStore::RowStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RowStore::~RowStore() = default;

absl::StatusOr<std::unique_ptr<RowStore>> RowStore::Open(const std::filesystem::path& folder,
                                                         std::string what) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::UnavailableError(folder.string() + ": " + error.message());
  rocksdb::Options options;
  options.create_if_missing = true;
  options.paranoid_checks = true;
  options.track_and_verify_wals_in_manifest = true;
  options.listeners.push_back(std::make_shared<ledger::NoAutoRecovery>());
  options.info_log = std::make_shared<ledger::StorageLog>();
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, folder.string(), &db);
  if (!status.ok()) return FromRocks(status, what + " in " + folder.string());
  auto impl = std::make_unique<Impl>();
  impl->db.reset(db);
  impl->folder = folder;
  impl->what = std::move(what);
  std::unique_ptr<RowStore> store(new RowStore(std::move(impl)));
  const auto stored = store->Get(kFormatRow);
  if (!stored.ok()) return stored.status();
  const auto format = FormatOf(*stored, kFormat, store->impl_->what + " in " + folder.string());
  if (!format.ok()) return format.status();
  if (*format < kFormat) {
    Batch batch;
    batch.Put(kFormatRow, std::to_string(kFormat));
    if (auto written = store->Write(batch); !written.ok()) return written;
  }
  auto key = store->Get(kTokenKey);
  if (!key.ok()) return key.status();
  if (!key->has_value()) {
    std::string fresh(32, '\0');
    if (RAND_bytes(reinterpret_cast<unsigned char*>(fresh.data()), static_cast<int>(fresh.size())) != 1)
      return absl::InternalError("the system has no entropy");
    Batch batch;
    batch.Put(kTokenKey, fresh);
    if (auto written = store->Write(batch); !written.ok()) return written;
    *key = std::move(fresh);
  }
  store->token_key_ = **key;
  return store;
}

absl::StatusOr<std::optional<std::string>> RowStore::Get(std::string_view key) const {
  std::string value;
  const rocksdb::Status status =
      impl_->db->Get(rocksdb::ReadOptions(), rocksdb::Slice(key.data(), key.size()), &value);
  if (status.IsNotFound()) return std::optional<std::string>();
  if (!status.ok()) return FromRocks(status, impl_->what + ", read");
  return std::optional<std::string>(std::move(value));
}

absl::Status RowStore::Scan(std::string_view prefix, std::string_view from,
                            const std::function<bool(std::string_view, std::string_view)>& visit) const {
  std::unique_ptr<rocksdb::Iterator> row(impl_->db->NewIterator(rocksdb::ReadOptions()));
  const std::string_view start = from.empty() ? prefix : from;
  for (row->Seek(rocksdb::Slice(start.data(), start.size())); row->Valid(); row->Next()) {
    const std::string_view key(row->key().data(), row->key().size());
    if (!key.starts_with(prefix) || !visit(key, std::string_view(row->value().data(), row->value().size())))
      break;
  }
  return FromRocks(row->status(), impl_->what + ", scan");
}

absl::Status RowStore::Write(const Batch& batch) {
  rocksdb::WriteBatch rows(0, 0, kProtectionBytes, 0);
  for (const auto& [key, value] : batch.changes_) {
    if (value.has_value()) {
      rows.Put(key, *value);
    } else {
      rows.Delete(key);
    }
  }
  rocksdb::WriteOptions options;
  options.sync = true;
  const rocksdb::Status status = impl_->db->Write(options, &rows);
  if (!status.ok() && !status.IsCorruption()) {
    // After a full disk the database stays read-only until it is told to go on, which is worth a try once
    // there is room.
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(impl_->folder, error);
    if (!error && space.available >= kDiskRoomBytes) impl_->db->Resume().PermitUncheckedError();
  }
  return FromRocks(status, impl_->what + ", write");
}

std::string SortableNumber(uint64_t value) {
  std::string bytes(8, '\0');
  for (int i = 7; i >= 0; --i, value >>= 8) bytes[static_cast<size_t>(i)] = static_cast<char>(value & 0xff);
  return bytes;
}

}  // namespace retort::services
