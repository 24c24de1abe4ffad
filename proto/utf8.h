// Whether bytes are UTF-8 text (RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF).
#ifndef PROTO_UTF8_H_
#define PROTO_UTF8_H_

#include <string_view>

namespace retort {

// Pure; linear in the length.
bool IsUtf8(std::string_view text);

}  // namespace retort

#endif  // PROTO_UTF8_H_
