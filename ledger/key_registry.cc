#include "ledger/key_registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/cord.h"
#include "ledger/entry.h"
#include "ledger/hex.h"
#include "ledger/internal/status_text.h"

namespace retort::ledger {
namespace {

constexpr char kSignaturePayload[] = "retort.dev/ledger/signature-invalid";

// Roles beside SignerRoleOf(type) that may sign. The jobs service brings the packs that decisions name into
// the log; their bytes are bound by digest. Each service tells who was let in or refused at its own door.
std::vector<std::string> OtherSignerRolesOf(StatementType type) {
  if (type == StatementType::kPolicyPack) return {"jobs"};
  if (type == StatementType::kAccess) return {"jobs", "policy", "teacher"};
  return {};
}

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
  const auto holds = [&](const std::string& wanted) {
    if (wanted == "log") return statement.key_id == log_key_.key_id();
    const auto grant = grants_.find({statement.key_id, wanted});
    return grant != grants_.end() && grant->second.HoldsAt(index);
  };
  const std::vector<std::string> others = OtherSignerRolesOf(type);
  if (!holds(role) && std::none_of(others.begin(), others.end(), holds)) {
    std::string wanted = role == "log" && others.empty() ? "; wanted the log's own"
                                                         : ", which is not registered with role " + role;
    for (const std::string& other : others) wanted += " or " + other;
    return MarkSignatureInvalid(
        absl::InvalidArgumentError(subject + " is signed by key " + HexEncode(statement.key_id) + wanted));
  }
  const VerifyingKey* key = statement.key_id == log_key_.key_id() ? &log_key_ : &keys_.at(statement.key_id);
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
