// DSSE v1 pre-authentication encoding (Dead Simple Signing Envelope 1.0.2, protocol.md): the bytes that a
// statement's signature covers, so that a signature over one type of content is never one over another.
#ifndef LEDGER_DSSE_H_
#define LEDGER_DSSE_H_

#include <string>
#include <string_view>

namespace retort::ledger {

// "DSSEv1 " len(type) " " type " " len(body) " " body, lengths in decimal BYTES.
std::string PreAuthenticationEncoding(std::string_view type, std::string_view body);

}  // namespace retort::ledger

#endif  // LEDGER_DSSE_H_
