#include "student/formats/sha256.h"

#include <openssl/evp.h>

#include <cassert>

namespace retort::student {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  const int ok = EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr);
  assert(ok == 1);  // fails only without memory
  (void)ok;
}

Sha256::~Sha256() = default;

void Sha256::Update(std::span<const uint8_t> bytes) {
  const int ok = EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size());
  assert(ok == 1);
  (void)ok;
}

void Sha256::Update(std::string_view bytes) {
  Update(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

Sha256Digest Sha256::Finish() {
  Sha256Digest digest;
  unsigned int size = 0;
  const int ok = EVP_DigestFinal_ex(context_->evp, digest.data(), &size);
  assert(ok == 1 && size == digest.size());
  (void)ok;
  return digest;
}

Sha256Digest Sha256Of(std::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

std::string HexOf(std::span<const uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

}  // namespace retort::student
