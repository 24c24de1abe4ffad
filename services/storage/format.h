// The format that a database of a service says it has, so that a program never takes newer rows for damage,
// or damages them.
#ifndef SERVICES_STORAGE_FORMAT_H_
#define SERVICES_STORAGE_FORMAT_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace retort::services {

// The row that holds it, a decimal number. Databases from before it was there have none: format 0.
inline constexpr char kFormatRow[] = "meta/format";

// What `stored`, the row's value, says. FailedPrecondition when it is newer than `newest`, the format that
// this program writes; DataLoss when it is no number. `what` leads the message.
absl::StatusOr<int> FormatOf(const std::optional<std::string>& stored, int newest, std::string_view what);

}  // namespace retort::services

#endif  // SERVICES_STORAGE_FORMAT_H_
