// Between HTTP headers and call metadata (Connect protocol, "Custom-Metadata"). Pure functions.
#ifndef SERVICES_GATEWAY_METADATA_H_
#define SERVICES_GATEWAY_METADATA_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/gateway/http_message.h"

namespace retort::services::gateway {

// As gRPC has it: lower-case names; values of names that end in "-bin" are bytes, others printable ASCII.
using Metadata = std::vector<std::pair<std::string, std::string>>;

// What the headers of a request say to the service: all but those that are about HTTP, about the connection,
// about Connect or gRPC themselves, or about who calls (forwarded_identity.h), which are dropped.
// InvalidArgument names a header that gRPC cannot carry: a byte outside of printable ASCII, or a "-bin" that
// is not base64.
absl::StatusOr<Metadata> ToMetadata(const Headers& headers);

// What a service's metadata say as headers of a response, or with `prefix` "trailer-" as its trailers. Names
// that HTTP, Connect or gRPC keep for themselves are left out.
Headers ToHeaders(const Metadata& metadata, std::string_view prefix = "");

// Standard alphabet, without padding; and its inverse, which takes padding too. InvalidArgument otherwise.
std::string UnpaddedBase64(std::string_view bytes);
absl::StatusOr<std::string> DecodeBase64(std::string_view text);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_METADATA_H_
