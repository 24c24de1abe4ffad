// Lower-case hexadecimal, strict: one text for each byte string.
#ifndef LEDGER_HEX_H_
#define LEDGER_HEX_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "ledger/digest.h"

namespace retort::ledger {

// Lower-case hex, two digits for each byte.
std::string HexEncode(std::string_view bytes);
std::string HexEncode(const Digest& digest);

// Bytes of `hex`. InvalidArgument for an odd length, upper case, or anything that is not a hex digit.
absl::StatusOr<std::string> HexDecode(std::string_view hex);

// Digest of exactly 64 lower-case hex digits. InvalidArgument otherwise.
absl::StatusOr<Digest> DigestFromHex(std::string_view hex);

}  // namespace retort::ledger

#endif  // LEDGER_HEX_H_
