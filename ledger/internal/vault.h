// Encryption of payloads: AES-256-GCM, one fresh key for each sample, wrapped by the project's vault key
// together with the sample's salt. Whoever destroys the wrapped key has destroyed the text. Implementation
// only.
#ifndef LEDGER_INTERNAL_VAULT_H_
#define LEDGER_INTERNAL_VAULT_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort::ledger::internal {

inline constexpr size_t kSaltBytes = 32;

struct SealedPayload {
  std::string ciphertext;   // payload and tag
  std::string wrapped_key;  // nonce, encrypted key and salt, tag
};

struct OpenedPayload {
  std::string payload;
  std::string salt;
};

// Holds the vault key and wipes it on destruction. Const methods, any number of threads.
class Vault {
 public:
  // `origin` is bound into everything that is sealed.
  Vault(const std::array<uint8_t, 32>& key, std::string origin);
  ~Vault();
  Vault(const Vault&) = delete;
  Vault& operator=(const Vault&) = delete;

  // Seals under a fresh key; `payload_digest` (hex) is bound in. Internal when the system has no entropy.
  absl::StatusOr<SealedPayload> Seal(std::string_view payload, std::string_view salt,
                                     std::string_view payload_digest) const;

  // DataLoss when it does not decrypt.
  absl::StatusOr<OpenedPayload> Open(std::string_view ciphertext, std::string_view wrapped_key,
                                     std::string_view payload_digest) const;

  // A value by which a later Open of the log can tell the right vault key from a wrong one.
  absl::StatusOr<std::string> MakeCheckValue() const;
  bool AcceptsCheckValue(std::string_view value) const;

 private:
  std::string Context(std::string_view purpose, std::string_view subject) const;

  std::array<uint8_t, 32> key_;
  std::string origin_;
};

}  // namespace retort::ledger::internal

#endif  // LEDGER_INTERNAL_VAULT_H_
