#include "ledger/internal/vault.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <cassert>
#include <memory>
#include <utility>

#include "absl/status/status.h"

namespace retort::ledger::internal {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;

struct ContextDeleter {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using OwnedContext = std::unique_ptr<EVP_CIPHER_CTX, ContextDeleter>;

const EVP_CIPHER* Aes256Gcm() {
  static EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  assert(cipher != nullptr && "OpenSSL has no AES-256-GCM");
  return cipher;
}

uint8_t* Bytes(std::string& text) {
  return reinterpret_cast<uint8_t*>(text.data());
}
const uint8_t* Bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

// Ciphertext and tag. OpenSSL fails here only without memory.
std::string Encrypt(std::string_view key, std::string_view nonce, std::string_view context,
                    std::string_view plain) {
  assert(key.size() == kKeyBytes && nonce.size() == kNonceBytes);
  const OwnedContext cipher(EVP_CIPHER_CTX_new());
  std::string out(plain.size() + kTagBytes, '\0');
  int length = 0;
  bool ok = EVP_EncryptInit_ex2(cipher.get(), Aes256Gcm(), Bytes(key), Bytes(nonce), nullptr) == 1;
  ok = ok && EVP_EncryptUpdate(cipher.get(), nullptr, &length, Bytes(context),
                               static_cast<int>(context.size())) == 1;
  ok = ok && EVP_EncryptUpdate(cipher.get(), Bytes(out), &length, Bytes(plain),
                               static_cast<int>(plain.size())) == 1;
  ok = ok && EVP_EncryptFinal_ex(cipher.get(), Bytes(out) + plain.size(), &length) == 1;
  ok = ok &&
       EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, Bytes(out) + plain.size()) == 1;
  assert(ok);
  (void)ok;
  return out;
}

absl::StatusOr<std::string> Decrypt(std::string_view key, std::string_view nonce, std::string_view context,
                                    std::string_view sealed) {
  if (sealed.size() < kTagBytes) return absl::DataLossError("vault record is shorter than its tag");
  const std::string_view body = sealed.substr(0, sealed.size() - kTagBytes);
  std::string tag(sealed.substr(body.size()));
  const OwnedContext cipher(EVP_CIPHER_CTX_new());
  std::string out(body.size(), '\0');
  int length = 0;
  bool ok = EVP_DecryptInit_ex2(cipher.get(), Aes256Gcm(), Bytes(key), Bytes(nonce), nullptr) == 1;
  ok = ok && EVP_DecryptUpdate(cipher.get(), nullptr, &length, Bytes(context),
                               static_cast<int>(context.size())) == 1;
  ok = ok &&
       EVP_DecryptUpdate(cipher.get(), Bytes(out), &length, Bytes(body), static_cast<int>(body.size())) == 1;
  ok = ok && EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) == 1;
  uint8_t end[kTagBytes];
  ok = ok && EVP_DecryptFinal_ex(cipher.get(), end, &length) == 1;
  if (!ok) {
    OPENSSL_cleanse(out.data(), out.size());
    return absl::DataLossError("vault record does not decrypt");
  }
  return out;
}

}  // namespace

Vault::Vault(const std::array<uint8_t, 32>& key, std::string origin)
    : key_(key), origin_(std::move(origin)) {}
Vault::~Vault() {
  OPENSSL_cleanse(key_.data(), key_.size());
}

std::string Vault::Context(std::string_view purpose, std::string_view subject) const {
  return "retort/vault/v1\n" + std::string(purpose) + "\n" + origin_ + "\n" + std::string(subject);
}

absl::StatusOr<SealedPayload> Vault::Seal(std::string_view payload, std::string_view salt,
                                          std::string_view payload_digest) const {
  assert(salt.size() == kSaltBytes);
  std::string key(kKeyBytes, '\0');
  std::string nonce(kNonceBytes, '\0');
  if (RAND_priv_bytes(Bytes(key), static_cast<int>(key.size())) != 1 ||
      RAND_bytes(Bytes(nonce), static_cast<int>(nonce.size())) != 1) {
    return absl::InternalError("the system has no entropy for a payload key");
  }
  SealedPayload sealed;
  // A payload key encrypts one payload, so its nonce need not vary.
  sealed.ciphertext =
      Encrypt(key, std::string(kNonceBytes, '\0'), Context("payload", payload_digest), payload);
  std::string secret = key + std::string(salt);
  const std::string_view vault_key(reinterpret_cast<const char*>(key_.data()), key_.size());
  sealed.wrapped_key = nonce + Encrypt(vault_key, nonce, Context("key", payload_digest), secret);
  OPENSSL_cleanse(key.data(), key.size());
  OPENSSL_cleanse(secret.data(), secret.size());
  return sealed;
}

absl::StatusOr<OpenedPayload> Vault::Open(std::string_view ciphertext, std::string_view wrapped_key,
                                          std::string_view payload_digest) const {
  if (wrapped_key.size() != kNonceBytes + kKeyBytes + kSaltBytes + kTagBytes) {
    return absl::DataLossError("vault key record of " + std::to_string(wrapped_key.size()) + " bytes");
  }
  const std::string_view vault_key(reinterpret_cast<const char*>(key_.data()), key_.size());
  absl::StatusOr<std::string> secret =
      Decrypt(vault_key, wrapped_key.substr(0, kNonceBytes), Context("key", payload_digest),
              wrapped_key.substr(kNonceBytes));
  if (!secret.ok()) return secret.status();
  absl::StatusOr<std::string> payload =
      Decrypt(std::string_view(*secret).substr(0, kKeyBytes), std::string(kNonceBytes, '\0'),
              Context("payload", payload_digest), ciphertext);
  OpenedPayload opened{.salt = secret->substr(kKeyBytes)};
  OPENSSL_cleanse(secret->data(), secret->size());
  if (!payload.ok()) return payload.status();
  opened.payload = *std::move(payload);
  return opened;
}

absl::StatusOr<std::string> Vault::MakeCheckValue() const {
  std::string nonce(kNonceBytes, '\0');
  if (RAND_bytes(Bytes(nonce), static_cast<int>(nonce.size())) != 1) {
    return absl::InternalError("the system has no entropy for a nonce");
  }
  const std::string_view vault_key(reinterpret_cast<const char*>(key_.data()), key_.size());
  return nonce + Encrypt(vault_key, nonce, Context("check", ""), "");
}

bool Vault::AcceptsCheckValue(std::string_view value) const {
  if (value.size() != kNonceBytes + kTagBytes) return false;
  const std::string_view vault_key(reinterpret_cast<const char*>(key_.data()), key_.size());
  return Decrypt(vault_key, value.substr(0, kNonceBytes), Context("check", ""), value.substr(kNonceBytes))
      .ok();
}

}  // namespace retort::ledger::internal
