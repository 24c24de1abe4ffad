// A folder that is filled by a stream of files and appears only when all of them are there.
#ifndef SERVICES_CLI_RECEIVED_FOLDER_H_
#define SERVICES_CLI_RECEIVED_FOLDER_H_

#include <cstdint>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace retort::services {

// Writes into a folder beside `path` and renames it to `path` at the end. What a server sends is hostile:
// paths are relative, without "..", "." and empty parts, printable, at most 512 bytes; each file comes once;
// there are at most kFilesMax files of kBytesMax in all. One thread. Without a successful Finish nothing
// stays behind.
class ReceivedFolder {
 public:
  static constexpr uint64_t kFilesMax = 2'000'000;
  static constexpr uint64_t kBytesMax = uint64_t{1} << 42;

  // AlreadyExists when `path` is taken (it is never overwritten); FailedPrecondition when its parent cannot
  // be written.
  static absl::StatusOr<std::unique_ptr<ReceivedFolder>> Create(const std::string& path);
  ~ReceivedFolder();
  ReceivedFolder(const ReceivedFolder&) = delete;
  ReceivedFolder& operator=(const ReceivedFolder&) = delete;

  // The next piece of `file`, under `prefix` (empty, or ending in a slash). InvalidArgument for a bad path or
  // a file that came before; ResourceExhausted above the limits; FailedPrecondition when the disk refuses.
  absl::Status Write(const std::string& prefix, const std::string& file, std::string_view content, bool last);

  // Where the files are until Finish.
  const std::string& temporary() const { return temporary_; }

  // Makes `path` appear. FailedPrecondition when a file has not seen its last piece.
  absl::Status Finish();

 private:
  ReceivedFolder(std::string path, std::string temporary);

  std::string path_, temporary_;
  std::string current_;  // file being written; empty between files
  std::ofstream out_;
  std::set<std::string> seen_;
  uint64_t bytes_ = 0;
  bool finished_ = false;
};

}  // namespace retort::services

#endif  // SERVICES_CLI_RECEIVED_FOLDER_H_
