// Base64 of RFC 4648 section 4: standard alphabet, padded, strict (one text for each byte string).
#ifndef LEDGER_BASE64_H_
#define LEDGER_BASE64_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort::ledger {

std::string Base64Encode(std::string_view bytes);

// Bytes of `text`. InvalidArgument for a wrong length, a character outside the alphabet (white space
// included), wrong padding, or bits in the last character that no encoder would set.
absl::StatusOr<std::string> Base64Decode(std::string_view text);

}  // namespace retort::ledger

#endif  // LEDGER_BASE64_H_
