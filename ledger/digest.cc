#include "ledger/digest.h"

#include <openssl/evp.h>

#include <cassert>

namespace retort::ledger {
namespace {

// Fetched once: an implicit fetch costs more than hashing a node.
const EVP_MD* Sha256Method() {
  static EVP_MD* const method = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  assert(method != nullptr && "OpenSSL has no SHA-256");
  return method;
}

struct ContextDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, ContextDeleter>;

// OpenSSL only fails here when memory is gone, which ends the process anyway.
void Require(int ok) {
  assert(ok == 1 && "SHA-256 failed");
  (void)ok;
}

}  // namespace

struct Sha256Hasher::State {
  Context context{EVP_MD_CTX_new()};
};

Sha256Hasher::Sha256Hasher() : state_(std::make_unique<State>()) {
  Require(EVP_DigestInit_ex2(state_->context.get(), Sha256Method(), nullptr));
}
Sha256Hasher::~Sha256Hasher() = default;
Sha256Hasher::Sha256Hasher(Sha256Hasher&&) noexcept = default;
Sha256Hasher& Sha256Hasher::operator=(Sha256Hasher&&) noexcept = default;

void Sha256Hasher::Update(std::string_view bytes) {
  Require(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()));
}

Digest Sha256Hasher::Finish() {
  Digest digest;
  Require(EVP_DigestFinal_ex(state_->context.get(), digest.data(), nullptr));
  Require(EVP_DigestInit_ex2(state_->context.get(), Sha256Method(), nullptr));
  return digest;
}

Digest Sha256(std::string_view bytes) {
  thread_local Sha256Hasher hasher;
  hasher.Update(bytes);
  return hasher.Finish();
}

Digest SaltedDigest(std::string_view salt, std::string_view payload) {
  Sha256Hasher hasher;
  hasher.Update(salt);
  hasher.Update(payload);
  return hasher.Finish();
}

}  // namespace retort::ledger
