#include "ledger/uuid.h"

#include "ledger/hex.h"

namespace retort::ledger {

std::string UuidFromDigest(const Digest& digest) {
  std::string bytes(AsView(digest).substr(0, 16));
  bytes[6] = static_cast<char>((bytes[6] & 0x0F) | 0x80);  // version 8
  bytes[8] = static_cast<char>((bytes[8] & 0x3F) | 0x80);  // variant 10
  std::string uuid = HexEncode(bytes);
  for (const size_t at : {8, 13, 18, 23}) uuid.insert(at, 1, '-');
  return uuid;
}

std::string SampleRequestId(std::string_view job_uid, int64_t index, int64_t attempt) {
  std::string name = "retort/sample/v1\n";
  name += job_uid;
  name += '\n' + std::to_string(index) + '\n' + std::to_string(attempt);
  return UuidFromDigest(Sha256(name));
}

bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const bool digit = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    if (dash ? text[i] != '-' : !digit) return false;
  }
  return true;
}

}  // namespace retort::ledger
