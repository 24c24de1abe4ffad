#include "services/edge/page_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <cassert>
#include <utility>

#include "services/edge/status.h"

namespace retort::services {
namespace {

constexpr size_t kMacBytes = 16;  // 128 bits: a token is a convenience, not a permission
constexpr size_t kTokenBytesMax = 4096;
constexpr char kDigits[] = "0123456789abcdef";

// Tokens are hex: URL-safe, no padding, one canonical form.
std::string ToHex(std::string_view bytes) {
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (unsigned char c : bytes) {
    hex += kDigits[c >> 4];
    hex += kDigits[c & 15];
  }
  return hex;
}

bool FromHex(std::string_view hex, std::string* bytes) {
  const auto value = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  if (hex.size() % 2 != 0) return false;
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = value(hex[i]), low = value(hex[i + 1]);
    if (high < 0 || low < 0) return false;
    *bytes += static_cast<char>(high << 4 | low);
  }
  return true;
}

std::string Mac(std::string_view key, std::string_view scope, std::string_view position) {
  std::string message = std::to_string(scope.size()) + "\n";  // the length keeps scope and position apart
  message.append(scope).append(position);
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  const auto* done =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
           reinterpret_cast<const unsigned char*>(message.data()), message.size(), mac, &length);
  assert(done != nullptr && length == 32);
  return std::string(reinterpret_cast<char*>(mac), kMacBytes);
}

}  // namespace

PageTokens::PageTokens(std::string key) : key_(std::move(key)) {
  assert(key_.size() >= 32);
}

PageTokens PageTokens::WithRandomKey() {
  std::string key(32, '\0');
  const int done = RAND_bytes(reinterpret_cast<unsigned char*>(key.data()), static_cast<int>(key.size()));
  assert(done == 1);
  return PageTokens(std::move(key));
}

std::string PageTokens::Seal(std::string_view scope, std::string_view position) const {
  return ToHex(Mac(key_, scope, position) + std::string(position));
}

absl::StatusOr<std::string> PageTokens::Open(std::string_view scope, std::string_view token) const {
  const auto refuse = [] {
    return WithReason(
        absl::InvalidArgumentError("page_token: not a token of this listing; start again without one"),
        PAGE_TOKEN_INVALID, {{"field", "page_token"}});
  };
  std::string bytes;
  if (token.size() > kTokenBytesMax || !FromHex(token, &bytes) || bytes.size() < kMacBytes) return refuse();
  const std::string position = bytes.substr(kMacBytes);
  if (CRYPTO_memcmp(bytes.data(), Mac(key_, scope, position).data(), kMacBytes) != 0) return refuse();
  return position;
}

absl::StatusOr<int32_t> PageSize(int32_t requested) {
  if (requested < 0) return InvalidField("page_size", std::to_string(requested), "0 to 1000");
  if (requested == 0) return 50;
  return requested > 1000 ? 1000 : requested;
}

}  // namespace retort::services
