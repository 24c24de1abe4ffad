// Rows of a service's own state: keys and values in RocksDB, each write synced before it returns.
//
//   auto rows = RowStore::Open(data_dir / "operations", "operations database");
//   RowStore::Batch batch;
//   batch.Put("op/" + name, record.SerializeAsString());
//   batch.Put("request/" + id, answer.SerializeAsString());
//   if (auto s = (*rows)->Write(batch); !s.ok()) return s;      // all of it, or nothing
//
// Errors: Unavailable when the disk refuses, DataLoss when what it holds is corrupt. Safe on any thread; what
// must not change between a read and a write is the caller's to lock.
#ifndef SERVICES_STORAGE_ROW_STORE_H_
#define SERVICES_STORAGE_ROW_STORE_H_

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort::services {

class RowStore {
 public:
  // Opens or makes the database. `what` leads every message. FailedPrecondition when another process holds
  // it, or a newer program wrote it; DataLoss when it is corrupt; Unavailable when the folder cannot be
  // written.
  static absl::StatusOr<std::unique_ptr<RowStore>> Open(const std::filesystem::path& folder,
                                                        std::string what);
  ~RowStore();

  absl::StatusOr<std::optional<std::string>> Get(std::string_view key) const;

  // Calls `visit` for keys that begin with `prefix`, in order, from `from` on (a whole key; empty: the
  // first), until it returns false. Keys are given whole.
  absl::Status Scan(std::string_view prefix, std::string_view from,
                    const std::function<bool(std::string_view key, std::string_view value)>& visit) const;

  // Changes that are written together.
  class Batch {
   public:
    void Put(std::string key, std::string value) { changes_.emplace_back(std::move(key), std::move(value)); }
    void Delete(std::string key) { changes_.emplace_back(std::move(key), std::nullopt); }

   private:
    friend class RowStore;
    std::vector<std::pair<std::string, std::optional<std::string>>> changes_;
  };
  absl::Status Write(const Batch& batch);

  // A secret of this store, 32 bytes, made with it: seals page tokens that survive a restart.
  const std::string& token_key() const { return token_key_; }

 private:
  struct Impl;
  explicit RowStore(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
  std::string token_key_;
};

// Big-endian numbers sort as bytes.
std::string SortableNumber(uint64_t value);

}  // namespace retort::services

#endif  // SERVICES_STORAGE_ROW_STORE_H_
