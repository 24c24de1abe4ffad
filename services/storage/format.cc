#include "services/storage/format.h"

#include <charconv>

namespace retort::services {

absl::StatusOr<int> FormatOf(const std::optional<std::string>& stored, int newest, std::string_view what) {
  if (!stored.has_value()) return 0;
  int format = -1;
  const auto read = std::from_chars(stored->data(), stored->data() + stored->size(), format);
  if (read.ec != std::errc() || read.ptr != stored->data() + stored->size() || format < 1)
    return absl::DataLossError(std::string(what) + ": its storage format is not a number");
  if (format <= newest) return format;
  return absl::FailedPreconditionError(
      std::string(what) + ": saw storage format " + std::to_string(format) + ", wanted " +
      std::to_string(newest) +
      " or older: a newer program wrote it; run that one, or restore a backup "
      "from before the upgrade");
}

}  // namespace retort::services
