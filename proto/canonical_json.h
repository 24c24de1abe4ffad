// Canonical JSON: the one encoding of everything that is signed or named by digest.
//
// It is RFC 8785 (JSON Canonicalization Scheme) restricted to what needs no floating point: objects whose
// keys are ASCII and strictly ascending, arrays, strings, booleans, null, and integers within +-(2^53 - 1).
// No white space. Strings are UTF-8; only quote, backslash and the control characters are escaped, the latter
// as \b \t \n \f \r or \u00xx. Exactly one text stands for each value, so Write(Parse(x).value()) == x, and
// equal values have equal digests. Pure functions; any number of threads.
#ifndef PROTO_CANONICAL_JSON_H_
#define PROTO_CANONICAL_JSON_H_

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort {

// Largest integer, in magnitude, that canonical JSON holds: 2^53 - 1.
inline constexpr int64_t kCanonicalIntegerMax = (int64_t{1} << 53) - 1;

// Deepest nesting of arrays and objects; deeper text is refused.
inline constexpr int kCanonicalDepthMax = 32;

// Returns the canonical text of `value`. The caller guarantees integers in range, ASCII keys, valid UTF-8 and
// no floating point: a breach is a fault of the program and asserted.
std::string WriteCanonicalJson(const nlohmann::json& value);

// Parses `text`, which must be canonical byte for byte and at most `size_max` bytes long. InvalidArgument
// otherwise: the message has the byte offset and the rule that is broken (duplicate or unordered key,
// floating point, white space, an escape that is not the canonical one, invalid UTF-8, nesting beyond
// kCanonicalDepthMax), never the text itself. Integers come back as int64.
absl::StatusOr<nlohmann::json> ParseCanonicalJson(std::string_view text, size_t size_max);

}  // namespace retort

#endif  // PROTO_CANONICAL_JSON_H_
