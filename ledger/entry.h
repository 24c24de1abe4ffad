// Entries: the bytes that a leaf of the tree commits to. docs/formats/ledger.md, section "Entry", is the
// authority.
//
//   "RTE1" | u8 kind | u8 n | u64 time_us | n x (u8 type | u32 length | statement | key id, 32 | signature,
//   64)
//
// Integers are big-endian; time is in microseconds since 1970 (UTC). One byte string for each entry. The kind
// fixes the statements and their order. Parsing checks form alone: it neither parses nor trusts a statement.
// Pure functions.
#ifndef LEDGER_ENTRY_H_
#define LEDGER_ENTRY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/signed_statement.h"
#include "ledger/statement.h"

namespace retort::ledger {

enum class EntryKind : uint8_t {  // same numbers as retort.ledger.v1.EntryKind
  kSample = 1,                    // capture, decision
  kPolicyPack = 2,                // policy pack
  kDecision = 3,                  // decision
  kReview = 4,                    // review
  kDataset = 5,                   // dataset
  kTraining = 6,                  // training
  kRelease = 7,                   // release
  kKey = 8,                       // key
  kErasure = 9,                   // erasure
  kAccess = 10,                   // access
};

// "SAMPLE" and so on; "kind 200" for a number that is none.
std::string EntryKindName(EntryKind kind);
bool IsEntryKind(uint8_t number);

// Types of the statements that an entry of `kind` holds, in order.
const std::vector<StatementType>& StatementTypesOf(EntryKind kind);

// "capture", "decision" and so on, as in messages.
std::string_view StatementTypeName(StatementType type);

// Role that must have signed a statement of `type`: teacher, policy, reviewer, log, trainer or jobs. A policy
// pack may also be signed with the role jobs, an access statement also with teacher, policy and jobs
// (KeyRegistry::Check).
std::string_view SignerRoleOf(StatementType type);

struct Entry {
  EntryKind kind = EntryKind::kSample;
  int64_t time_us = 0;
  std::vector<SignedStatement> statements;  // types as StatementTypesOf(kind)

  bool operator==(const Entry&) const = default;
};

inline constexpr size_t kEntryBytesMax = 65'535;

// Leaf bytes. InvalidArgument when the number of statements is not that of the kind, the time is negative, or
// the leaf would exceed kEntryBytesMax.
absl::StatusOr<std::string> EncodeEntry(const Entry& entry);

// Inverse of EncodeEntry. InvalidArgument with the byte offset, what was seen and what is wanted.
absl::StatusOr<Entry> ParseEntry(std::string_view leaf);

}  // namespace retort::ledger

#endif  // LEDGER_ENTRY_H_
