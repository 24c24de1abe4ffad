#include "student/training/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "student/formats/atomic_file.h"
#include "student/formats/message.h"
#include "student/formats/sha256.h"
#include "student/training/checkpoint.h"

namespace retort::student {
namespace {

constexpr size_t kCheckpointsKept = 2;  // the newest, and the one to fall back on when it is damaged

absl::Status KeepManifest(const std::string& path, const TrainingManifest& manifest) {
  const auto stored = ReadWholeFile(path, kManifestBytesMax);
  if (absl::IsNotFound(stored.status())) return WriteFileAtomically(path, manifest.ToJson());
  if (!stored.ok()) return stored.status();
  const std::string digest = HexOf(Sha256Of(*stored));
  if (digest == manifest.Digest()) return absl::OkStatus();
  return absl::FailedPreconditionError(Message(path, ": belongs to a run with the manifest ", digest,
                                               "; this run has ", manifest.Digest(),
                                               "; give each run a folder of its own"));
}

void RemovePartialFiles(const std::string& folder) {
  std::error_code error;
  std::vector<std::filesystem::path> partial;
  for (auto entry = std::filesystem::directory_iterator(folder, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() == ".partial") partial.push_back(entry->path());
  }
  for (const auto& path : partial) std::filesystem::remove(path, error);
}

}  // namespace

RunFolder::RunFolder(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)), lock_fd_(std::exchange(other.lock_fd_, -1)) {}

RunFolder::~RunFolder() {
  if (lock_fd_ >= 0) close(lock_fd_);
}

absl::StatusOr<RunFolder> RunFolder::Open(const std::string& path, const TrainingManifest& manifest) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return absl::UnavailableError(Message(path, ": cannot make the folder (", error.message(), ")"));
  const std::string lock = path + "/lock";
  const int fd = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return absl::UnavailableError(Message(lock, ": cannot open (", std::strerror(errno), ")"));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const bool held = errno == EWOULDBLOCK;
    const std::string why = std::strerror(errno);
    close(fd);
    if (held) return absl::FailedPreconditionError(Message(lock, ": another trainer works in this folder"));
    return absl::UnavailableError(Message(lock, ": cannot lock (", why, ")"));
  }
  RunFolder folder(path, fd);
  RemovePartialFiles(path);
  if (auto status = KeepManifest(path + "/manifest.json", manifest); !status.ok()) return status;
  return folder;
}

void RunFolder::DropOldCheckpoints() const {
  const auto paths = ListCheckpoints(path_);
  std::error_code ignored;
  for (size_t i = kCheckpointsKept; i < paths.size(); ++i) std::filesystem::remove(paths[i], ignored);
}

}  // namespace retort::student
