#include "ledger/signed_statement.h"

#include <utility>

#include "ledger/dsse.h"
#include "ledger/hex.h"

namespace retort::ledger {

SignedStatement SignStatement(const SigningKey& key, StatementType type, std::string statement) {
  SignedStatement result;
  result.signature = key.Sign(PreAuthenticationEncoding(PayloadType(type), statement));
  result.key_id = key.key_id();
  result.statement = std::move(statement);
  return result;
}

absl::Status VerifyStatement(const VerifyingKey& key, StatementType type, const SignedStatement& statement) {
  if (statement.key_id != key.key_id()) {
    return absl::DataLossError("key id " + HexEncode(statement.key_id) + " is not that of key " + key.name());
  }
  return key.Verify(PreAuthenticationEncoding(PayloadType(type), statement.statement), statement.signature);
}

}  // namespace retort::ledger
