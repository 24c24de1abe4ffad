// Messages of a Connect stream: one byte of flags, four of length in network order, the message (Connect
// protocol, "Enveloped-Message"). Pure functions.
#ifndef SERVICES_GATEWAY_ENVELOPE_H_
#define SERVICES_GATEWAY_ENVELOPE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort::services::gateway {

inline constexpr uint8_t kCompressedFlag = 1;
inline constexpr uint8_t kEndStreamFlag = 2;
inline constexpr size_t kEnvelopeHeadBytes = 5;

struct Envelope {
  uint8_t flags = 0;
  std::string_view message;  // into the bytes that were parsed
};

// `message` is shorter than 4 GiB.
std::string MakeEnvelope(uint8_t flags, std::string_view message);

// The one envelope that the body of a call to a server-streaming method holds. Unimplemented for none or
// several, as the specification's cardinality rules have it; InvalidArgument for one that is cut off, has a
// reserved flag, or says that it ends a stream, which requests never do.
absl::StatusOr<Envelope> OnlyEnvelope(std::string_view body);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_ENVELOPE_H_
