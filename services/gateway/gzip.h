// gzip (RFC 1952), bounded. Pure functions.
#ifndef SERVICES_GATEWAY_GZIP_H_
#define SERVICES_GATEWAY_GZIP_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort::services::gateway {

std::string Gzip(std::string_view bytes);

// What one gzip member holds. InvalidArgument when `bytes` is no such member, is cut off, or is followed by
// more; ResourceExhausted as soon as it would be longer than `bytes_max`, before more than that is in memory.
absl::StatusOr<std::string> Gunzip(std::string_view bytes, size_t bytes_max);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_GZIP_H_
