// The two forms in which a message crosses HTTP: protobuf's bytes, and its canonical JSON. gRPC always gets
// and gives the bytes. Pure functions.
#ifndef SERVICES_GATEWAY_MESSAGE_CODEC_H_
#define SERVICES_GATEWAY_MESSAGE_CODEC_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"

namespace retort::services::gateway {

enum class Codec { kProto, kJson };

inline std::string_view CodecName(Codec codec) {
  return codec == Codec::kJson ? "json" : "proto";
}

// The bytes that gRPC gets for what a client sent. InvalidArgument when it is no message of that type; for
// JSON also for an unknown field, so that a misspelt one is not ignored. The message of an error names the
// place, not the value.
absl::StatusOr<std::string> RequestBytes(const google::protobuf::Descriptor& type, Codec codec,
                                         std::string_view sent);

// What a client gets for the bytes that gRPC gave. Internal when a service answered with something else than
// its type.
absl::StatusOr<std::string> ResponseBody(const google::protobuf::Descriptor& type, Codec codec,
                                         std::string bytes);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_MESSAGE_CODEC_H_
