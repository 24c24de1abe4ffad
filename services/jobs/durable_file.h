// Writing files so that after a crash they are there whole or not at all.
#ifndef SERVICES_JOBS_DURABLE_FILE_H_
#define SERVICES_JOBS_DURABLE_FILE_H_

#include <filesystem>
#include <string_view>

#include "absl/status/status.h"

namespace retort::jobs {

// Writes `content` to a temporary file beside `path`, syncs it, renames it over `path` and syncs the folder.
// Unavailable naming the path when the disk refuses.
absl::Status WriteDurably(const std::filesystem::path& path, std::string_view content);

// Syncs a file that something else has written, or the entries of a folder.
absl::Status Sync(const std::filesystem::path& path);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_DURABLE_FILE_H_
