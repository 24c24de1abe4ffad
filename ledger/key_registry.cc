#include "ledger/key_registry.h"

#include <utility>

#include "absl/strings/cord.h"
#include "ledger/entry.h"
#include "ledger/hex.h"
#include "ledger/internal/status_text.h"

namespace retort::ledger {
namespace {

constexpr char kSignaturePayload[] = "retort.dev/ledger/signature-invalid";

}  // namespace

bool IsSignatureInvalid(const absl::Status& status) {
  return status.GetPayload(kSignaturePayload).has_value();
}

absl::Status MarkSignatureInvalid(absl::Status status) {
  status.SetPayload(kSignaturePayload, absl::Cord("1"));
  return status;
}

KeyRegistry::KeyRegistry(VerifyingKey log_key) : log_key_(std::move(log_key)) {}

bool KeyRegistry::Grant::HoldsAt(uint64_t index) const {
  bool held = false;
  for (const Event& event : events) {
    if (event.index >= index) break;
    held = event.added;
  }
  return held;
}

absl::Status KeyRegistry::Register(uint64_t index, const KeyStatement& statement) {
  absl::StatusOr<VerifyingKey> key = VerifyingKey::Parse(statement.vkey);
  if (!key.ok()) return internal::About("key.vkey", key.status());
  if (statement.role == "log") {
    if (statement.vkey == log_key_.vkey() && statement.action == "add") return absl::OkStatus();
    return absl::InvalidArgumentError("key statement about a log key that is not " + log_key_.name() +
                                      "'s own");
  }
  const Digest id = key->key_id();
  Grant& grant = grants_[{id, statement.role}];
  const bool add = statement.action == "add";
  if (grant.HoldsAt(kNow) == add) {
    return absl::InvalidArgumentError("key statement " +
                                      std::string(add ? "adds a key that is" : "retires a key that is not") +
                                      " registered: role " + statement.role + ", key " + HexEncode(id));
  }
  grant.vkey = statement.vkey;
  grant.events.push_back({index, add});
  keys_.emplace(id, *std::move(key));
  return absl::OkStatus();
}

absl::Status KeyRegistry::Check(uint64_t index, StatementType type, const SignedStatement& statement) const {
  const std::string role(SignerRoleOf(type));
  const std::string subject(StatementTypeName(type));
  const VerifyingKey* key = &log_key_;
  if (role == "log") {
    if (statement.key_id != log_key_.key_id()) {
      return MarkSignatureInvalid(absl::InvalidArgumentError(
          subject + " is signed by key " + HexEncode(statement.key_id) + "; wanted the log's own"));
    }
  } else {
    auto grant = grants_.find({statement.key_id, role});
    // The jobs service brings the packs that decisions name into the log; their bytes are bound by digest.
    if (grant == grants_.end() && type == StatementType::kPolicyPack)
      grant = grants_.find({statement.key_id, "jobs"});
    if (grant == grants_.end() || !grant->second.HoldsAt(index)) {
      return MarkSignatureInvalid(absl::InvalidArgumentError(subject + " is signed by key " +
                                                             HexEncode(statement.key_id) +
                                                             ", which is not registered with role " + role));
    }
    key = &keys_.at(statement.key_id);
  }
  if (!VerifyStatement(*key, type, statement).ok()) {
    return MarkSignatureInvalid(absl::DataLossError(subject + " signature does not verify"));
  }
  return absl::OkStatus();
}

std::vector<KeyRegistry::Registered> KeyRegistry::Current() const {
  std::vector<Registered> current;
  for (const auto& [id_and_role, grant] : grants_) {
    if (grant.HoldsAt(kNow)) current.push_back({id_and_role.second, grant.vkey});
  }
  return current;
}

}  // namespace retort::ledger
