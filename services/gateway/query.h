// The parameters of a GET (Connect protocol, "Query-Get"; URL standard, "application/x-www-form-urlencoded").
// Pure.
#ifndef SERVICES_GATEWAY_QUERY_H_
#define SERVICES_GATEWAY_QUERY_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort::services::gateway {

// Names and values of what follows the question mark, decoded. InvalidArgument for a percent sign without two
// hexadecimal digits, and for one of Connect's own parameters that is there twice; of unknown ones the last
// counts.
absl::StatusOr<std::map<std::string, std::string>> ParseQuery(std::string_view query);

// Inverse of the URL-safe alphabet (RFC 4648, section 5), padded or not. InvalidArgument otherwise.
absl::StatusOr<std::string> DecodeUrlBase64(std::string_view text);

}  // namespace retort::services::gateway

#endif  // SERVICES_GATEWAY_QUERY_H_
