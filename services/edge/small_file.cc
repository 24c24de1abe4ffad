#include "services/edge/small_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>

namespace retort::services {

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    const std::string message = path + ": cannot be read: " + std::strerror(errno);
    if (errno == ENOENT) return absl::NotFoundError(message);
    return absl::FailedPreconditionError(message);
  }
  std::string bytes(bytes_max + 1, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(in.gcount()));
  if (in.bad()) return absl::FailedPreconditionError(path + ": reading failed; wanted a regular file");
  if (bytes.size() > bytes_max) {
    return absl::FailedPreconditionError(path + ": larger than " + std::to_string(bytes_max) + " bytes");
  }
  return bytes;
}

}  // namespace retort::services
