// UUIDs that are made from digests, so that whoever knows what a request is about derives the same request id
// again after a crash.
#ifndef LEDGER_UUID_H_
#define LEDGER_UUID_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "ledger/digest.h"

namespace retort::ledger {

// First 16 bytes of `digest` with version 8 and the variant bits of RFC 9562 section 5.8, as 36 lower-case
// characters.
std::string UuidFromDigest(const Digest& digest);

// Request id of the `attempt`-th call (from 1) for prompt `index` (from 0) of a job:
// UuidFromDigest(SHA-256("retort/sample/v1\n" job_uid "\n" index "\n" attempt)), numbers in decimal.
std::string SampleRequestId(std::string_view job_uid, int64_t index, int64_t attempt);

// True for the canonical 36-character lower-case form, of any version.
bool IsUuid(std::string_view text);

}  // namespace retort::ledger

#endif  // LEDGER_UUID_H_
