// Which keys a log accepts for which statements, and since when: the sum of its KEY entries.
//
// Trust starts at one key, the log's. KEY entries, signed by it, add and retire the others; a statement in
// entry i counts only if its key was registered before i, with the role that its type needs, and not retired
// since. Register and Check must not run at the same time; Check alone may run on any number of threads.
#ifndef LEDGER_KEY_REGISTRY_H_
#define LEDGER_KEY_REGISTRY_H_

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "ledger/digest.h"
#include "ledger/signed_statement.h"
#include "ledger/signing.h"
#include "ledger/statement.h"

namespace retort::ledger {

// True for an error that means: a signature is missing, wrong, or of a key without the needed role.
bool IsSignatureInvalid(const absl::Status& status);

// `status` marked so that IsSignatureInvalid is true.
absl::Status MarkSignatureInvalid(absl::Status status);

class KeyRegistry {
 public:
  explicit KeyRegistry(VerifyingKey log_key);

  static constexpr uint64_t kNow = std::numeric_limits<uint64_t>::max();

  // Takes in the KEY statement of entry `index`; indices ascend. InvalidArgument when the vkey is malformed,
  // a key is added that is registered already, retired that is not, or given the role "log" without being the
  // log's.
  absl::Status Register(uint64_t index, const KeyStatement& statement);

  // OK when `statement` of entry `index` is signed by a key that has the role for `type` there. Otherwise
  // IsSignatureInvalid: InvalidArgument for a key that is unknown, retired or of another role, DataLoss for a
  // signature that does not verify. Messages name the type of statement.
  absl::Status Check(uint64_t index, StatementType type, const SignedStatement& statement) const;

  struct Registered {
    std::string role;
    std::string vkey;
    bool operator==(const Registered&) const = default;
  };
  // Keys registered and not retired, the log's own aside.
  std::vector<Registered> Current() const;

  const VerifyingKey& log_key() const { return log_key_; }

 private:
  struct Event {
    uint64_t index;
    bool added;
  };
  struct Grant {  // of one role to one key
    std::string vkey;
    std::vector<Event> events;
    bool HoldsAt(uint64_t index) const;
  };

  VerifyingKey log_key_;
  std::map<Digest, VerifyingKey> keys_;
  std::map<std::pair<Digest, std::string>, Grant> grants_;
};

}  // namespace retort::ledger

#endif  // LEDGER_KEY_REGISTRY_H_
