#include "services/jobs/request_id.h"

#include <random>

#include "ledger/digest.h"
#include "ledger/uuid.h"

namespace retort::jobs {
namespace {

std::string Derived(const std::string& text) {
  return ledger::UuidFromDigest(ledger::Sha256(text));
}

}  // namespace

std::string MilestoneRequestId(std::string_view milestone, std::string_view job_uid) {
  return Derived("retort/" + std::string(milestone) + "/v1\n" + std::string(job_uid));
}

std::string RandomUuid() {
  std::random_device entropy;
  unsigned char bytes[16];
  for (int i = 0; i < 16; i += 4) {
    const uint32_t word = entropy();
    for (int j = 0; j < 4; ++j) bytes[i + j] = static_cast<unsigned char>(word >> (8 * j));
  }
  bytes[6] = (bytes[6] & 0x0f) | 0x40;  // RFC 9562 section 5.4
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  constexpr char kHex[] = "0123456789abcdef";
  std::string uuid;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) uuid += '-';
    uuid += kHex[bytes[i] >> 4];
    uuid += kHex[bytes[i] & 15];
  }
  return uuid;
}

}  // namespace retort::jobs
