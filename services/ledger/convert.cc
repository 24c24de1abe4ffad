#include "services/ledger/convert.h"

#include <algorithm>
#include <utility>

#include "ledger/hex.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

template <size_t N>
bool CopyExactly(const std::string& from, std::array<uint8_t, N>& to) {
  if (from.size() != N) return false;
  std::copy(from.begin(), from.end(), to.begin());
  return true;
}

std::string Bytes(const std::string& field) {
  return std::to_string(field.size()) + " bytes";
}

}  // namespace

std::string BytesOf(const ledger::Digest& digest) {
  return std::string(digest.begin(), digest.end());
}

absl::StatusOr<ledger::AppendRequest> AppendFrom(const ledger::v1::AppendEntryRequest& request) {
  ledger::AppendRequest append;
  if (request.kind() < 0 || request.kind() > 255 ||
      !ledger::IsEntryKind(static_cast<uint8_t>(request.kind()))) {
    return InvalidField("kind", std::to_string(request.kind()), "a kind of entry");
  }
  append.kind = static_cast<ledger::EntryKind>(request.kind());
  if (request.statements_size() < 1 || request.statements_size() > 4) {
    return InvalidField("statements", std::to_string(request.statements_size()) + " statements", "1 to 4");
  }
  for (const auto& from : request.statements()) {
    ledger::SignedStatement to;
    to.statement = from.statement();
    if (!CopyExactly(from.signature(), to.signature)) {
      return InvalidField("statements.signature", Bytes(from.signature()), "64 bytes");
    }
    if (!CopyExactly(from.key_id(), to.key_id))
      return InvalidField("statements.key_id", Bytes(from.key_id()), "32 bytes");
    append.statements.push_back(std::move(to));
  }
  append.payload = request.payload();
  append.salt = request.salt();
  if (static_cast<size_t>(request.attachments_size()) > ledger::kAttachmentsMax) {
    return InvalidField("attachments", std::to_string(request.attachments_size()),
                        "at most " + std::to_string(ledger::kAttachmentsMax));
  }
  for (const auto& attachment : request.attachments()) {
    if (ledger::HexEncode(ledger::Sha256(attachment.content())) != attachment.sha256()) {
      return InvalidField("attachments.sha256", attachment.sha256(),
                          "the SHA-256 of content in lower-case hex");
    }
    append.attachments.push_back(attachment.content());
  }
  return append;
}

ledger::v1::Entry EntryMessage(const std::string& project, uint64_t index, const ledger::Digest& leaf_hash,
                               const std::string& leaf, const ledger::Entry& entry) {
  ledger::v1::Entry message;
  message.set_name(project + "/ledgers/main/entries/" + std::to_string(index));
  message.set_index(static_cast<int64_t>(index));
  message.set_kind(static_cast<ledger::v1::EntryKind>(entry.kind));
  message.mutable_append_time()->set_seconds(entry.time_us / 1'000'000);
  message.mutable_append_time()->set_nanos(static_cast<int32_t>(entry.time_us % 1'000'000) * 1000);
  message.set_leaf_hash(BytesOf(leaf_hash));
  message.set_leaf(leaf);
  for (const auto& from : entry.statements) {
    auto* to = message.add_statements();
    to->set_statement(from.statement);
    to->set_signature(std::string(from.signature.begin(), from.signature.end()));
    to->set_key_id(BytesOf(from.key_id));
  }
  return message;
}

ledger::v1::Checkpoint CheckpointMessage(const ledger::SignedCheckpoint& checkpoint,
                                         const std::string& vkey) {
  ledger::v1::Checkpoint message;
  message.set_note(checkpoint.note);
  message.set_tree_size(static_cast<int64_t>(checkpoint.checkpoint.size));
  message.set_root(BytesOf(checkpoint.checkpoint.root));
  message.set_vkey(vkey);
  return message;
}

}  // namespace retort::services
