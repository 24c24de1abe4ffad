// Resource names (AIP-122): parsing with the field, the value and the wanted pattern in every refusal.
#ifndef SERVICES_EDGE_RESOURCE_NAME_H_
#define SERVICES_EDGE_RESOURCE_NAME_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::services {

// True for [a-z]([a-z0-9-]{0,61}[a-z0-9])?
bool IsResourceId(std::string_view id);

// True for [A-Za-z0-9][A-Za-z0-9._-]{0,95}: names of students and policies.
bool IsReleaseName(std::string_view name);

// Matches `value` against a pattern such as "projects/*/jobs/*" and returns what the wildcards matched, in
// order.
// `*` is a resource id, `@` a release name, `#` a decimal number below 2^63 without leading zeros; anything
// else stands for itself. InvalidArgument (reason INVALID_FIELD) names `field`, the value seen and the
// pattern.
absl::StatusOr<std::vector<std::string>> ParseResourceName(std::string_view field, std::string_view value,
                                                           std::string_view pattern);

}  // namespace retort::services

#endif  // SERVICES_EDGE_RESOURCE_NAME_H_
