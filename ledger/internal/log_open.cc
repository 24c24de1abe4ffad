// Opening a log: identity, tail verification, keys.
#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "ledger/hex.h"
#include "ledger/internal/log_impl.h"
#include "ledger/internal/status_text.h"
#include "ledger/merkle.h"
#include "ledger/tile.h"
#include "ledger/uuid.h"

namespace retort::ledger {

using internal::Family;
using internal::PreparedAppend;
using internal::Snapshot;
using internal::Store;

namespace {

absl::Status CheckOptions(const LogOptions& options) {
  if (options.path.empty()) return absl::InvalidArgumentError("log path is empty");
  if (options.project.empty()) return absl::InvalidArgumentError("log project is empty");
  if (options.log_key == nullptr) return absl::InvalidArgumentError("log has no key");
  if (options.log_key->name() != options.origin) {
    return absl::InvalidArgumentError("log key is named " + options.log_key->name() + "; wanted the origin " +
                                      options.origin);
  }
  if (options.now_us == nullptr) return absl::InvalidArgumentError("log has no clock");
  if (options.queue_max == 0) return absl::InvalidArgumentError("queue_max is 0; wanted at least 1");
  std::set<std::pair<std::string, std::string>> seen;
  for (const TrustedKey& key : options.trusted_keys) {
    constexpr std::string_view kRoles[] = {"teacher", "policy", "jobs", "trainer", "reviewer"};
    if (std::find(std::begin(kRoles), std::end(kRoles), key.role) == std::end(kRoles)) {
      return absl::InvalidArgumentError("trusted key has role " + key.role +
                                        "; wanted teacher, policy, jobs, trainer or reviewer");
    }
    absl::StatusOr<VerifyingKey> parsed = VerifyingKey::Parse(key.vkey);
    if (!parsed.ok()) return internal::About("trusted key with role " + key.role, parsed.status());
    if (!seen.emplace(key.role, HexEncode(parsed->key_id())).second) {
      return absl::InvalidArgumentError("trusted key " + key.vkey + " is listed twice with role " + key.role);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Log>> Log::Open(LogOptions options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) return status;
  absl::StatusOr<VerifyingKey> log_key = VerifyingKey::Parse(options.log_key->vkey());
  if (!log_key.ok()) return log_key.status();
  absl::StatusOr<std::unique_ptr<Store>> store = Store::Open(options.path, options.storage);
  if (!store.ok()) return store.status();
  auto impl = std::make_unique<Impl>(std::move(options), *std::move(log_key), *std::move(store));
  for (const auto step :
       {&Impl::CheckOrMakeIdentity, &Impl::LoadTree, &Impl::LoadKeys, &Impl::RegisterKeys}) {
    if (absl::Status status = (impl.get()->*step)(); !status.ok()) {
      return internal::About("log " + impl->options().path, status);
    }
  }
  impl->StartWriter();
  return std::unique_ptr<Log>(new Log(std::move(impl)));
}

absl::Status Log::Impl::CheckOrMakeIdentity() {
  const auto format = store_->Get(Family::kIndex, internal::MetaKey("format"));
  if (!format.ok()) return format.status();
  const std::pair<std::string_view, std::string> identity[] = {
      {"origin", options_.origin}, {"project", options_.project}, {"log_key", options_.log_key->vkey()}};
  if (!format->has_value()) {
    const auto head = store_->Get(Family::kIndex, internal::MetaKey("head"));
    if (!head.ok()) return head.status();
    if (head->has_value()) return absl::DataLossError("the database has entries but no identity");
    absl::StatusOr<std::string> check = vault_.MakeCheckValue();
    if (!check.ok()) return check.status();
    Store::Batch batch(*store_);
    batch.Put(Family::kIndex, internal::MetaKey("format"), internal::kLogFormat);
    batch.Put(Family::kIndex, internal::MetaKey("vault_check"), *check);
    for (const auto& [name, value] : identity) batch.Put(Family::kIndex, internal::MetaKey(name), value);
    return store_->WriteSynced(batch);
  }
  if (auto known = internal::CheckLogFormat(**format); !known.ok()) return known;
  for (const auto& [name, wanted] : identity) {
    const auto value = store_->Get(Family::kIndex, internal::MetaKey(name));
    if (!value.ok()) return value.status();
    if (!value->has_value()) return absl::DataLossError("the database does not say its " + std::string(name));
    if (**value != wanted) {
      return absl::FailedPreconditionError("the log was made with " + std::string(name) + " " + **value +
                                           "; the configuration has " + wanted);
    }
  }
  const auto check = store_->Get(Family::kIndex, internal::MetaKey("vault_check"));
  if (!check.ok()) return check.status();
  if (!check->has_value()) return absl::DataLossError("the database has no check value of its vault key");
  if (!vault_.AcceptsCheckValue(**check)) {
    return absl::FailedPreconditionError("the vault key is not the one that the log was made with");
  }
  if (**format == internal::kLogFormat) return absl::OkStatus();
  Store::Batch batch(*store_);
  batch.Put(Family::kIndex, internal::MetaKey("format"), internal::kLogFormat);
  return store_->WriteSynced(batch);
}

absl::Status Log::Impl::LoadTree() {
  const auto head = store_->Get(Family::kIndex, internal::MetaKey("head"));
  if (!head.ok()) return head.status();
  const auto note = store_->Get(Family::kIndex, internal::MetaKey("note"));
  if (!note.ok()) return note.status();
  uint64_t size = 0;
  Digest head_root = EmptyRoot();
  if (head->has_value()) {
    if ((*head)->size() != internal::kHeadBytes) return absl::DataLossError("the stored head is malformed");
    size = internal::FromBigEndian(std::string_view(**head).substr(0, 8));
    std::copy((*head)->begin() + 8, (*head)->end(), head_root.begin());
  }
  absl::StatusOr<internal::StoredTree> tree = internal::StoredTree::Rebuild(*store_, size);
  if (!tree.ok()) return tree.status();
  if (tree->Root() != head_root) {
    return absl::DataLossError("the root rebuilt from the stored entries is not the stored root of size " +
                               std::to_string(size));
  }
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->tree = *std::move(tree);
  // A full last tile came from the tile itself: compare it with the entries too.
  const NodeSource nodes = snapshot->tree.Nodes(*store_);
  for (uint64_t i = size - std::min<uint64_t>(size, kTileWidth); i < size; ++i) {
    const absl::StatusOr<StoredEntry> entry = ReadEntryFrom(*snapshot, nodes, i);
    if (!entry.ok()) return entry.status();
    snapshot->time_us = entry->entry.time_us;
  }
  // Whatever was signed must still be true.
  if (note->has_value()) {
    const absl::StatusOr<Checkpoint> checkpoint = OpenCheckpoint(**note, keys_.log_key(), options_.origin);
    if (!checkpoint.ok())
      return absl::DataLossError(internal::About("stored checkpoint", checkpoint.status()).ToString());
    if (checkpoint->size > size) {
      return absl::DataLossError("a checkpoint of size " + std::to_string(checkpoint->size) +
                                 " was signed, but the log holds " + std::to_string(size) + " entries");
    }
    const absl::StatusOr<Digest> root = TreeRoot(checkpoint->size, nodes);
    if (!root.ok()) return root.status();
    if (*root != checkpoint->root) {
      return absl::DataLossError("the tree does not extend the checkpoint that was signed at size " +
                                 std::to_string(checkpoint->size));
    }
  }
  if (size == 0) {
    const std::lock_guard<std::mutex> lock(snapshot_mutex_);
    snapshot_ = std::move(snapshot);
    return absl::OkStatus();
  }
  return Publish(std::move(snapshot));
}

absl::Status Log::Impl::LoadKeys() {
  return ForEachEntry(0, Current()->tree.size(), EntryKind::kKey, [this](const StoredEntry& stored) {
    const SignedStatement& signed_statement = stored.entry.statements[0];
    const std::string subject = "entry " + std::to_string(stored.index) + " (KEY)";
    absl::Status status = keys_.Check(stored.index, StatementType::kKey, signed_statement);
    if (status.ok()) {
      const absl::StatusOr<KeyStatement> statement = KeyStatement::Parse(signed_statement.statement);
      status = statement.ok() ? keys_.Register(stored.index, *statement) : statement.status();
    }
    if (!status.ok()) return absl::DataLossError(subject + ": " + std::string(internal::MessageOf(status)));
    return absl::OkStatus();
  });
}

absl::Status Log::Impl::RegisterKeys() {
  std::vector<KeyStatement> wanted;
  const uint64_t size = Current()->tree.size();
  const auto plan = [&](std::string role, std::string vkey, std::string action) {
    const std::string name = "retort/key/v1\n" + options_.origin + "\n" + std::to_string(size) + "\n" + role +
                             "\n" + vkey + "\n" + action;
    wanted.push_back(KeyStatement{.project = options_.project,
                                  .request_id = UuidFromDigest(Sha256(name)),
                                  .role = std::move(role),
                                  .vkey = std::move(vkey),
                                  .action = std::move(action)});
  };
  if (size == 0) plan("log", options_.log_key->vkey(), "add");
  const std::vector<KeyRegistry::Registered> current = keys_.Current();
  for (const KeyRegistry::Registered& key : current) {
    const bool kept = std::any_of(
        options_.trusted_keys.begin(), options_.trusted_keys.end(),
        [&](const TrustedKey& trusted) { return trusted.role == key.role && trusted.vkey == key.vkey; });
    if (!kept) plan(key.role, key.vkey, "retire");
  }
  for (const TrustedKey& trusted : options_.trusted_keys) {
    if (std::find(current.begin(), current.end(), KeyRegistry::Registered{trusted.role, trusted.vkey}) ==
        current.end()) {
      plan(trusted.role, trusted.vkey, "add");
    }
  }
  if (wanted.empty()) return absl::OkStatus();
  std::vector<PreparedAppend> prepared;
  std::vector<PreparedAppend*> group;
  for (const KeyStatement& statement : wanted) {
    prepared.push_back(
        OwnStatement(EntryKind::kKey, StatementType::kKey, statement.request_id, statement.ToJson()));
  }
  for (PreparedAppend& one : prepared) group.push_back(&one);
  const std::vector<absl::StatusOr<AppendedEntry>> answers = Commit(group);  // the writer does not run yet
  for (size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i].ok()) return answers[i].status();
    if (absl::Status status = keys_.Register(answers[i]->index, wanted[i]); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace retort::ledger
