// What an append has become before it may queue: everything about it that needs no look at the log's order
// has been checked, and what is private has been sealed. Implementation only; pure but for the entropy of the
// vault.
#ifndef LEDGER_INTERNAL_PREPARED_APPEND_H_
#define LEDGER_INTERNAL_PREPARED_APPEND_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/digest.h"
#include "ledger/entry.h"
#include "ledger/internal/vault.h"
#include "ledger/key_registry.h"
#include "ledger/log.h"

namespace retort::ledger::internal {

enum class Effect : uint8_t { kAllow = 1, kReview = 2, kDeny = 3 };
Effect EffectFrom(std::string_view effect);  // of a parsed decision
std::string_view EffectName(Effect effect);

// What the index keeps of a SAMPLE, so that counting and freezing need not parse entries.
struct SampleRow {
  Effect effect = Effect::kDeny;
  bool held_out = false;
  uint64_t prompt_index = 0;
  uint64_t attempt = 1;
  Digest subject{};  // SHA-256 of the capture: what a later decision names

  std::string Encode() const;
  static absl::StatusOr<SampleRow> Decode(std::string_view row);  // DataLoss
};

// An entry of this index must be in the log, of this kind.
struct Reference {
  std::string member;  // "release.training_entry", for the message
  uint64_t index = 0;
  std::vector<EntryKind> kinds;
  std::optional<Digest>
      decision;  // when given, the SHA-256 of the decision statement that the entry must hold
};

struct PreparedAppend {
  EntryKind kind = EntryKind::kSample;
  std::vector<SignedStatement> statements;
  std::string request_id;
  Digest content{};  // SHA-256 over kind and statements: the same request again has the same
  std::string job_uid;
  std::optional<SampleRow> sample;
  std::optional<SealedPayload> sealed;
  std::optional<std::pair<Digest, Effect>> later_decision;  // a DECISION about a sample: subject and effect
  std::optional<std::pair<uint64_t, bool>> review;  // a REVIEW: subject entry, and whether it approves
  std::optional<uint64_t> erased_sample;            // an ERASURE: whose key goes
  std::map<Digest, std::string> attachments;        // given with the request
  std::vector<Digest> named_attachments;            // named by the statements; must be given or stored
  std::vector<Reference> references;
};

// The statement bytes' digest of a request.
Digest ContentDigest(EntryKind kind, const std::vector<SignedStatement>& statements);

// Checks form, keys, signatures and agreement of a request, and seals its payload. Errors as Log::Append.
absl::StatusOr<PreparedAppend> PrepareAppend(AppendRequest request, std::string_view project,
                                             const KeyRegistry& keys, const Vault& vault);

}  // namespace retort::ledger::internal

#endif  // LEDGER_INTERNAL_PREPARED_APPEND_H_
