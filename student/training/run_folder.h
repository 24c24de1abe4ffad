// The folder of one run, held by one trainer at a time: manifest.json, lock, and the last two checkpoints.
#ifndef STUDENT_TRAINING_RUN_FOLDER_H_
#define STUDENT_TRAINING_RUN_FOLDER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "student/training/manifest.h"

namespace retort::student {

class RunFolder {
 public:
  // Makes the folder when missing, takes its lock (flock, so it ends with the process), removes what a dead
  // writer left half-written, and writes the manifest, or compares it with the one that is there.
  // FailedPrecondition: another trainer holds the lock, or the folder belongs to a run with another manifest
  // (both digests are named). Unavailable: the disk refuses.
  static absl::StatusOr<RunFolder> Open(const std::string& path, const TrainingManifest& manifest);
  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&&) = delete;
  ~RunFolder();

  const std::string& path() const { return path_; }
  // Removes all checkpoints but the newest two. Failure to remove one is not an error: it only takes room.
  void DropOldCheckpoints() const;

 private:
  RunFolder(std::string path, int lock_fd);
  std::string path_;
  int lock_fd_;
};

}  // namespace retort::student

#endif  // STUDENT_TRAINING_RUN_FOLDER_H_
