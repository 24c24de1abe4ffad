// Files that are read whole: PEM, keys, configuration.
#ifndef SERVICES_EDGE_SMALL_FILE_H_
#define SERVICES_EDGE_SMALL_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace retort::services {

// The bytes of a file of at most `bytes_max`. NotFound, or FailedPrecondition when it cannot be read or is
// larger.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max = 1 << 20);

}  // namespace retort::services

#endif  // SERVICES_EDGE_SMALL_FILE_H_
