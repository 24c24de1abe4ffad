// JSON from outside: files that the student reads (manifests, safetensors headers, config.json) parsed with
// bounds, and with the two things refused that a lenient parser hides: a member that is there twice, and
// bytes after the value.
//
// The accessors below fetch a member of an object with its type and range checked; every refusal is
// InvalidArgument
// "<path>: <seen>; wanted <form>" and holds at most 64 bytes of the input. No threads involved.
#ifndef STUDENT_FORMATS_STRICT_JSON_H_
#define STUDENT_FORMATS_STRICT_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort::student {

struct JsonLimits {
  size_t bytes_max = 1 << 20;
  int depth_max = 8;  // of nested arrays and objects
};

// One JSON value and nothing else. `what` names the source in messages.
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text, std::string_view what,
                                               JsonLimits limits = {});

// The member `name` of `object`. InvalidArgument when `object` is none, the member is missing, of another
// type, or outside [low, high].
absl::StatusOr<int64_t> JsonInteger(const nlohmann::json& object, const char* name, int64_t low,
                                    int64_t high);
absl::StatusOr<double> JsonNumber(const nlohmann::json& object, const char* name, double low, double high);
absl::StatusOr<std::string> JsonString(const nlohmann::json& object, const char* name, size_t bytes_max);
absl::StatusOr<bool> JsonBool(const nlohmann::json& object, const char* name);

// OK when `object` has exactly the members `names`.
absl::Status JsonHasExactly(const nlohmann::json& object, const std::vector<std::string>& names);

// At most 64 bytes of a value, for messages.
std::string JsonExcerpt(const nlohmann::json& value);

}  // namespace retort::student

#endif  // STUDENT_FORMATS_STRICT_JSON_H_
