#include "ledger/hex.h"

#include <algorithm>

#include "absl/status/status.h"

namespace retort::ledger {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

int DigitValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string HexEncode(std::string_view bytes) {
  std::string hex;
  hex.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

std::string HexEncode(const Digest& digest) {
  return HexEncode(AsView(digest));
}

absl::StatusOr<std::string> HexDecode(std::string_view hex) {
  if (hex.size() % 2 != 0) {
    return absl::InvalidArgumentError("hex of odd length " + std::to_string(hex.size()));
  }
  std::string bytes;
  bytes.reserve(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = DigitValue(hex[i]);
    const int low = DigitValue(hex[i + 1]);
    if (high < 0 || low < 0) {
      return absl::InvalidArgumentError("hex, character " + std::to_string(high < 0 ? i : i + 1) +
                                        ": only 0-9 and a-f are allowed");
    }
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

absl::StatusOr<Digest> DigestFromHex(std::string_view hex) {
  Digest digest;
  if (hex.size() != digest.size() * 2) {
    return absl::InvalidArgumentError("digest of " + std::to_string(hex.size()) +
                                      " characters; wanted 64 hex digits");
  }
  const absl::StatusOr<std::string> bytes = HexDecode(hex);
  if (!bytes.ok()) return bytes.status();
  std::copy(bytes->begin(), bytes->end(), digest.begin());
  return digest;
}

}  // namespace retort::ledger
