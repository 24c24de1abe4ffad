#include "ledger/entry.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "absl/status/status.h"

namespace retort::ledger {
namespace {

constexpr std::string_view kMagic = "RTE1";
constexpr size_t kHeaderBytes = 4 + 1 + 1 + 8;
constexpr size_t kStatementOverheadBytes = 1 + 4 + 32 + 64;

void AppendBigEndian(std::string& out, uint64_t number, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift);
}

// Reads fields off the front of a leaf; the offset goes into messages.
class Cursor {
 public:
  explicit Cursor(std::string_view leaf) : leaf_(leaf) {}

  size_t at() const { return at_; }
  size_t left() const { return leaf_.size() - at_; }

  absl::StatusOr<std::string_view> Take(size_t bytes, std::string_view what) {
    if (left() < bytes) {
      return absl::InvalidArgumentError("entry, byte " + std::to_string(at_) + ": " + std::string(what) +
                                        " wants " + std::to_string(bytes) + " bytes; " +
                                        std::to_string(left()) + " are left");
    }
    at_ += bytes;
    return leaf_.substr(at_ - bytes, bytes);
  }

  absl::StatusOr<uint64_t> TakeNumber(int bytes, std::string_view what) {
    const absl::StatusOr<std::string_view> field = Take(static_cast<size_t>(bytes), what);
    if (!field.ok()) return field.status();
    uint64_t number = 0;
    for (const char c : *field) number = number << 8 | static_cast<uint8_t>(c);
    return number;
  }

 private:
  std::string_view leaf_;
  size_t at_ = 0;
};

absl::Status Wrong(size_t at, std::string_view what, uint64_t seen, std::string_view wanted) {
  return absl::InvalidArgumentError("entry, byte " + std::to_string(at) + ": " + std::string(what) + " is " +
                                    std::to_string(seen) + "; wanted " + std::string(wanted));
}

absl::StatusOr<SignedStatement> TakeStatement(Cursor& cursor, StatementType wanted) {
  const size_t at = cursor.at();
  const absl::StatusOr<uint64_t> type = cursor.TakeNumber(1, "statement type");
  if (!type.ok()) return type.status();
  if (*type != static_cast<uint64_t>(wanted)) {
    return Wrong(
        at, "statement type", *type,
        std::to_string(static_cast<int>(wanted)) + " (" + std::string(StatementTypeName(wanted)) + ")");
  }
  const std::string name(StatementTypeName(wanted));
  const absl::StatusOr<uint64_t> length = cursor.TakeNumber(4, "length of the " + name + " statement");
  if (!length.ok()) return length.status();
  const absl::StatusOr<std::string_view> bytes = cursor.Take(*length, name + " statement");
  if (!bytes.ok()) return bytes.status();
  SignedStatement statement{.statement = std::string(*bytes)};
  const absl::StatusOr<std::string_view> key_id =
      cursor.Take(statement.key_id.size(), "key id of the " + name);
  if (!key_id.ok()) return key_id.status();
  std::copy(key_id->begin(), key_id->end(), statement.key_id.begin());
  const absl::StatusOr<std::string_view> signature =
      cursor.Take(statement.signature.size(), "signature of the " + name);
  if (!signature.ok()) return signature.status();
  std::copy(signature->begin(), signature->end(), statement.signature.begin());
  return statement;
}

}  // namespace

bool IsEntryKind(uint8_t number) {
  return number >= 1 && number <= 10;
}

std::string EntryKindName(EntryKind kind) {
  switch (kind) {
    case EntryKind::kSample:
      return "SAMPLE";
    case EntryKind::kPolicyPack:
      return "POLICY_PACK";
    case EntryKind::kDecision:
      return "DECISION";
    case EntryKind::kReview:
      return "REVIEW";
    case EntryKind::kDataset:
      return "DATASET";
    case EntryKind::kTraining:
      return "TRAINING";
    case EntryKind::kRelease:
      return "RELEASE";
    case EntryKind::kKey:
      return "KEY";
    case EntryKind::kErasure:
      return "ERASURE";
    case EntryKind::kAccess:
      return "ACCESS";
  }
  return "kind " + std::to_string(static_cast<int>(kind));
}

const std::vector<StatementType>& StatementTypesOf(EntryKind kind) {
  static const std::vector<StatementType> types[] = {
      {},
      {StatementType::kCapture, StatementType::kDecision},
      {StatementType::kPolicyPack},
      {StatementType::kDecision},
      {StatementType::kReview},
      {StatementType::kDataset},
      {StatementType::kTraining},
      {StatementType::kRelease},
      {StatementType::kKey},
      {StatementType::kErasure},
      {StatementType::kAccess},
  };
  const auto number = static_cast<uint8_t>(kind);
  return types[IsEntryKind(number) ? number : 0];
}

std::string_view StatementTypeName(StatementType type) {
  switch (type) {
    case StatementType::kCapture:
      return "capture";
    case StatementType::kDecision:
      return "decision";
    case StatementType::kPolicyPack:
      return "policy pack";
    case StatementType::kReview:
      return "review";
    case StatementType::kDataset:
      return "dataset";
    case StatementType::kTraining:
      return "training";
    case StatementType::kRelease:
      return "release";
    case StatementType::kKey:
      return "key";
    case StatementType::kErasure:
      return "erasure";
    case StatementType::kAccess:
      return "access";
  }
  return "unknown";
}

std::string_view SignerRoleOf(StatementType type) {
  switch (type) {
    case StatementType::kCapture:
      return "teacher";
    case StatementType::kDecision:
    case StatementType::kPolicyPack:
      return "policy";
    case StatementType::kReview:
      return "reviewer";
    case StatementType::kTraining:
      return "trainer";
    case StatementType::kRelease:
      return "jobs";
    case StatementType::kDataset:
    case StatementType::kKey:
    case StatementType::kErasure:
    case StatementType::kAccess:
      return "log";
  }
  return "nobody";
}

absl::StatusOr<std::string> EncodeEntry(const Entry& entry) {
  const std::vector<StatementType>& types = StatementTypesOf(entry.kind);
  if (types.empty() || entry.statements.size() != types.size()) {
    return absl::InvalidArgumentError(EntryKindName(entry.kind) + " with " +
                                      std::to_string(entry.statements.size()) + " statements; wanted " +
                                      std::to_string(types.size()));
  }
  if (entry.time_us < 0) {
    return absl::InvalidArgumentError("entry time " + std::to_string(entry.time_us) + "; wanted 0 or later");
  }
  size_t size = kHeaderBytes;
  for (const SignedStatement& statement : entry.statements)
    size += kStatementOverheadBytes + statement.statement.size();
  if (size > kEntryBytesMax) {
    return absl::InvalidArgumentError("entry of " + std::to_string(size) + " bytes; at most " +
                                      std::to_string(kEntryBytesMax) + " are allowed");
  }
  std::string leaf(kMagic);
  leaf.reserve(size);
  AppendBigEndian(leaf, static_cast<uint8_t>(entry.kind), 1);
  AppendBigEndian(leaf, entry.statements.size(), 1);
  AppendBigEndian(leaf, static_cast<uint64_t>(entry.time_us), 8);
  for (size_t i = 0; i < types.size(); ++i) {
    const SignedStatement& statement = entry.statements[i];
    AppendBigEndian(leaf, static_cast<uint8_t>(types[i]), 1);
    AppendBigEndian(leaf, statement.statement.size(), 4);
    leaf += statement.statement;
    leaf += AsView(statement.key_id);
    leaf.append(reinterpret_cast<const char*>(statement.signature.data()), statement.signature.size());
  }
  assert(leaf.size() == size);
  return leaf;
}

absl::StatusOr<Entry> ParseEntry(std::string_view leaf) {
  if (leaf.size() > kEntryBytesMax)
    return Wrong(0, "size", leaf.size(), "at most " + std::to_string(kEntryBytesMax));
  Cursor cursor(leaf);
  const absl::StatusOr<std::string_view> magic = cursor.Take(kMagic.size(), "magic");
  if (!magic.ok()) return magic.status();
  if (*magic != kMagic) return absl::InvalidArgumentError("entry, byte 0: does not begin with RTE1");
  const absl::StatusOr<uint64_t> kind = cursor.TakeNumber(1, "kind");
  if (!kind.ok()) return kind.status();
  if (!IsEntryKind(static_cast<uint8_t>(*kind))) return Wrong(4, "kind", *kind, "1 to 10");
  Entry entry{.kind = static_cast<EntryKind>(*kind)};
  const std::vector<StatementType>& types = StatementTypesOf(entry.kind);
  const absl::StatusOr<uint64_t> count = cursor.TakeNumber(1, "number of statements");
  if (!count.ok()) return count.status();
  if (*count != types.size()) return Wrong(5, "number of statements", *count, std::to_string(types.size()));
  const absl::StatusOr<uint64_t> time_us = cursor.TakeNumber(8, "time");
  if (!time_us.ok()) return time_us.status();
  entry.time_us = static_cast<int64_t>(*time_us);
  if (entry.time_us < 0) return Wrong(6, "time", *time_us, "below 2^63");
  for (const StatementType type : types) {
    absl::StatusOr<SignedStatement> statement = TakeStatement(cursor, type);
    if (!statement.ok()) return statement.status();
    entry.statements.push_back(*std::move(statement));
  }
  if (cursor.left() != 0) {
    return Wrong(cursor.at(), "number of bytes after the last statement", cursor.left(), "0");
  }
  return entry;
}

}  // namespace retort::ledger
