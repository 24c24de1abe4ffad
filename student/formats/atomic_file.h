// Writes a file so that it is either there whole or not at all, whatever happens to the process or the
// machine.
#ifndef STUDENT_FORMATS_ATOMIC_FILE_H_
#define STUDENT_FORMATS_ATOMIC_FILE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort::student {

// A file in the making, under a temporary name beside its final one. Commit() gives it its name; without
// Commit the destructor removes it. Names ending in ".partial" are left-overs of a process that died and may
// be deleted.
class AtomicFile {
 public:
  // Unavailable when the folder does not take the file.
  static absl::StatusOr<AtomicFile> Create(const std::string& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  // Appends. Unavailable when the disk refuses, a full disk included.
  absl::Status Write(std::span<const uint8_t> bytes);
  absl::Status Write(std::string_view bytes);

  // Syncs the file, renames it over `path`, syncs the folder. Unavailable when one of these fails.
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string partial, int fd);
  std::string path_, partial_;
  int fd_;
};

// The whole of it in one call.
absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes);

// Reads a whole file of at most `bytes_max` bytes. NotFound; Unavailable when it cannot be read;
// InvalidArgument when it is larger or no regular file.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path, uint64_t bytes_max);

}  // namespace retort::student

#endif  // STUDENT_FORMATS_ATOMIC_FILE_H_
