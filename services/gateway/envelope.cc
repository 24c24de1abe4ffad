#include "services/gateway/envelope.h"

#include <cassert>
#include <limits>

namespace retort::services::gateway {

std::string MakeEnvelope(uint8_t flags, std::string_view message) {
  assert(message.size() <= std::numeric_limits<uint32_t>::max());
  std::string bytes;
  bytes.reserve(kEnvelopeHeadBytes + message.size());
  bytes.push_back(static_cast<char>(flags));
  for (int shift = 24; shift >= 0; shift -= 8)
    bytes.push_back(static_cast<char>(message.size() >> shift & 0xff));
  bytes.append(message);
  return bytes;
}

absl::StatusOr<Envelope> OnlyEnvelope(std::string_view body) {
  if (body.empty()) return absl::UnimplementedError("the stream holds no message; wanted exactly one");
  if (body.size() < kEnvelopeHeadBytes) {
    return absl::InvalidArgumentError("envelope: saw " + std::to_string(body.size()) +
                                      " bytes, wanted five of flags and length");
  }
  Envelope envelope{static_cast<uint8_t>(body[0]), {}};
  size_t length = 0;
  for (size_t i = 1; i < kEnvelopeHeadBytes; ++i) length = length << 8 | static_cast<uint8_t>(body[i]);
  const std::string_view rest = body.substr(kEnvelopeHeadBytes);
  if ((envelope.flags & ~kCompressedFlag) != 0) {
    return absl::InvalidArgumentError("envelope: saw the flags " + std::to_string(envelope.flags) +
                                      ", wanted 0, or 1 for a compressed message");
  }
  if (length > rest.size()) {
    return absl::InvalidArgumentError("envelope: says " + std::to_string(length) + " bytes, the body holds " +
                                      std::to_string(rest.size()));
  }
  if (length < rest.size())
    return absl::UnimplementedError("the stream holds several messages; wanted exactly one");
  envelope.message = rest;
  return envelope;
}

}  // namespace retort::services::gateway
