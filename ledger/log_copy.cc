#include "ledger/log_copy.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "ledger/checkpoint.h"
#include "ledger/internal/status_text.h"
#include "ledger/internal/store.h"
#include "ledger/internal/stored_tree.h"
#include "ledger/merkle.h"

namespace retort::ledger {
namespace {

using internal::Family;
using internal::Store;

constexpr int kAttempts = 3;  // against a writer that compacts files away in the moment of the opening

// Removes a folder when it goes out of scope, unless told to keep it.
class FolderGuard {
 public:
  explicit FolderGuard(std::string path) : path_(std::move(path)) {}
  ~FolderGuard() {
    std::error_code ignored;
    if (!kept_) std::filesystem::remove_all(path_, ignored);
  }
  FolderGuard(const FolderGuard&) = delete;
  FolderGuard& operator=(const FolderGuard&) = delete;
  void Keep() { kept_ = true; }

 private:
  const std::string path_;
  bool kept_ = false;
};

absl::StatusOr<std::string> NeededMeta(const Store& store, std::string_view name) {
  auto value = store.Get(Family::kIndex, internal::MetaKey(name));
  if (!value.ok()) return value.status();
  if (!value->has_value()) return absl::DataLossError("the database does not say its " + std::string(name));
  return **std::move(value);
}

// The key of this log, under its own name, when it is the same key as `log_key`.
absl::StatusOr<VerifyingKey> KeyOfLog(const Store& store, const VerifyingKey& log_key) {
  const auto format = NeededMeta(store, "format");
  if (!format.ok()) return format.status();
  if (auto known = internal::CheckLogFormat(*format); !known.ok()) return known;
  const auto vkey = NeededMeta(store, "log_key");
  if (!vkey.ok()) return vkey.status();
  auto key = VerifyingKey::Parse(*vkey);
  if (!key.ok()) return absl::DataLossError("the stored key of the log is malformed");
  if (key->key_id() != log_key.key_id()) {
    return absl::FailedPreconditionError("the log is signed by " + *vkey + "; wanted the key of " +
                                         log_key.vkey());
  }
  return key;
}

// The newest checkpoint that was signed; none before the first entry.
absl::StatusOr<Checkpoint> NewestCheckpoint(const Store& store, const VerifyingKey& key,
                                            const std::string& origin, uint64_t size) {
  const auto note = store.Get(Family::kIndex, internal::MetaKey("note"));
  if (!note.ok()) return note.status();
  if (!note->has_value()) {
    if (size == 0) return Checkpoint{.origin = origin, .size = 0, .root = EmptyRoot()};
    return absl::UnavailableError("the first checkpoint is not signed yet; try again");
  }
  auto checkpoint = OpenCheckpoint(**note, key, origin);
  if (!checkpoint.ok())
    return absl::DataLossError(internal::About("stored checkpoint", checkpoint.status()).ToString());
  if (checkpoint->size > size) {
    return absl::DataLossError("a checkpoint of size " + std::to_string(checkpoint->size) +
                               " was signed, but there are " + std::to_string(size) + " entries");
  }
  return checkpoint;
}

// Hashes every entry; the roots of all of them and of the first `signed_size`.
struct Roots {
  Digest all{}, under_checkpoint{};
};
absl::StatusOr<Roots> HashEntries(const Store& store, uint64_t size, uint64_t signed_size) {
  CompactRange range;
  Roots roots{.all = EmptyRoot(), .under_checkpoint = EmptyRoot()};
  bool in_order = true;
  const absl::Status scanned =
      store.Scan(Family::kEntries, "", "", [&](std::string_view key, std::string_view leaf) {
        in_order = key == internal::BigEndian(range.size()) && range.size() < size;
        if (!in_order) return false;
        range.Append(LeafHash(leaf));
        if (range.size() == signed_size) roots.under_checkpoint = range.Root();
        return true;
      });
  if (!scanned.ok()) return scanned;
  if (!in_order || range.size() != size) {
    return absl::DataLossError("entry " + std::to_string(range.size()) +
                               (range.size() < size ? " is missing" : " is beyond the head"));
  }
  if (size > 0) roots.all = range.Root();
  return roots;
}

absl::StatusOr<LogCopy> Verify(const Store& store, const VerifyingKey& log_key) {
  const auto key = KeyOfLog(store, log_key);
  if (!key.ok()) return key.status();
  auto origin = NeededMeta(store, "origin");
  if (!origin.ok()) return origin.status();
  const auto head = store.Get(Family::kIndex, internal::MetaKey("head"));
  if (!head.ok()) return head.status();
  uint64_t size = 0;
  Digest head_root = EmptyRoot();
  if (head->has_value()) {
    if ((*head)->size() != internal::kHeadBytes) return absl::DataLossError("the stored head is malformed");
    size = internal::FromBigEndian(std::string_view(**head).substr(0, 8));
    std::copy((*head)->begin() + 8, (*head)->end(), head_root.begin());
  }
  const auto checkpoint = NewestCheckpoint(store, *key, *origin, size);
  if (!checkpoint.ok()) return checkpoint.status();
  const auto roots = HashEntries(store, size, checkpoint->size);
  if (!roots.ok()) return roots.status();
  const auto tree = internal::StoredTree::Rebuild(store, size);
  if (!tree.ok()) return tree.status();
  if (roots->all != head_root || (size > 0 && tree->Root() != head_root)) {
    return absl::DataLossError("the root rebuilt from the stored entries is not the stored root of size " +
                               std::to_string(size));
  }
  if (roots->under_checkpoint != checkpoint->root) {
    return absl::DataLossError("the tree does not extend the checkpoint that was signed at size " +
                               std::to_string(checkpoint->size));
  }
  return LogCopy{*std::move(origin), size, roots->all, checkpoint->size};
}

absl::StatusOr<LogCopy> CopyOnce(const std::string& source, const std::string& target,
                                 const VerifyingKey& log_key) {
  const std::string scratch = target + ".scratch";
  const FolderGuard remove_scratch(scratch);
  FolderGuard remove_target(target);
  {
    const auto from = Store::OpenBeside(source, scratch);
    if (!from.ok()) return from.status();
    // Refused before anything is copied: the wrong log, or a log that is damaged already.
    if (const auto key = KeyOfLog(**from, log_key); !key.ok())
      return internal::About("log " + source, key.status());
    const auto into = Store::Open(target, nullptr);
    if (!into.ok()) return into.status();
    if (absl::Status status = (*from)->CopyTo(**into); !status.ok()) return status;
  }
  auto copy = VerifyLogCopy(target, scratch, log_key);
  if (copy.ok()) remove_target.Keep();
  return copy;
}

}  // namespace

absl::StatusOr<LogCopy> CopyLog(const std::string& source, const std::string& target,
                                const VerifyingKey& log_key) {
  std::error_code error;
  if (std::filesystem::exists(target, error)) {
    return absl::AlreadyExistsError(target + " is there already; copies never overwrite");
  }
  absl::StatusOr<LogCopy> copy = CopyOnce(source, target, log_key);
  for (int attempt = 1; attempt < kAttempts && absl::IsUnavailable(copy.status()); ++attempt) {
    copy = CopyOnce(source, target, log_key);
  }
  return copy;
}

absl::StatusOr<LogCopy> VerifyLogCopy(const std::string& path, const std::string& scratch,
                                      const VerifyingKey& log_key) {
  const FolderGuard remove_scratch(scratch);
  const auto store = Store::OpenBeside(path, scratch);
  if (!store.ok()) return store.status();
  auto copy = Verify(**store, log_key);
  if (!copy.ok()) return internal::About("log " + path, copy.status());
  return copy;
}

}  // namespace retort::ledger
