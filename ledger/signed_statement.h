// A statement (ledger/statement.h) with its signature: what services send each other and entries hold.
#ifndef LEDGER_SIGNED_STATEMENT_H_
#define LEDGER_SIGNED_STATEMENT_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "ledger/digest.h"
#include "ledger/signing.h"
#include "ledger/statement.h"

namespace retort::ledger {

struct SignedStatement {
  std::string statement;  // canonical JSON, byte for byte as signed
  std::array<uint8_t, 64>
      signature{};  // Ed25519 over PreAuthenticationEncoding(PayloadType(type), statement)
  Digest key_id{};  // SHA-256 of the signer's public key; says which key to try, proves nothing

  bool operator==(const SignedStatement&) const = default;
};

// Signs the bytes of `statement`, normally the ToJson() of the struct of that type.
SignedStatement SignStatement(const SigningKey& key, StatementType type, std::string statement);

// OK when `statement` is signed by `key` as a statement of `type`. DataLoss when the key id is another key's
// or the signature does not verify. Looks at no byte of the statement's meaning.
absl::Status VerifyStatement(const VerifyingKey& key, StatementType type, const SignedStatement& statement);

}  // namespace retort::ledger

#endif  // LEDGER_SIGNED_STATEMENT_H_
