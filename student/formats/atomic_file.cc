#include "student/formats/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "student/formats/message.h"

namespace retort::student {
namespace {

absl::Status Failed(std::string_view verb, const std::string& path, int error) {
  const std::string message = Message(path, ": cannot ", verb, " (", std::strerror(error), ")");
  return error == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
}

}  // namespace

AtomicFile::AtomicFile(std::string path, std::string partial, int fd)
    : path_(std::move(path)), partial_(std::move(partial)), fd_(fd) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)), partial_(std::move(other.partial_)), fd_(std::exchange(other.fd_, -1)) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(partial_.c_str());
}

absl::StatusOr<AtomicFile> AtomicFile::Create(const std::string& path) {
  std::string partial = path + ".partial";
  const int fd = open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return absl::UnavailableError(Failed("create", partial, errno).message());
  return AtomicFile(path, std::move(partial), fd);
}

absl::Status AtomicFile::Write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed("write", partial_, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::Write(std::string_view bytes) {
  return Write(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

absl::Status AtomicFile::Commit() {
  if (fsync(fd_) != 0) return Failed("sync", partial_, errno);
  if (close(std::exchange(fd_, -1)) != 0) return Failed("close", partial_, errno);
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) return Failed("rename", partial_, errno);
  std::string folder = std::filesystem::path(path_).parent_path().string();
  if (folder.empty()) folder = ".";
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed("open", folder, errno);
  const int synced = fsync(fd);
  const int error = errno;
  close(fd);
  return synced == 0 ? absl::OkStatus() : Failed("sync", folder, error);
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes) {
  auto file = AtomicFile::Create(path);
  if (!file.ok()) return file.status();
  if (auto status = file->Write(bytes); !status.ok()) return status;
  return file->Commit();
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, uint64_t bytes_max) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return Failed("open", path, errno);
  struct stat info {};
  absl::Status status;
  std::string bytes;
  if (fstat(fd, &info) != 0) {
    status = Failed("stat", path, errno);
  } else if (!S_ISREG(info.st_mode)) {
    status = absl::InvalidArgumentError(Message(path, ": not a regular file"));
  } else if (static_cast<uint64_t>(info.st_size) > bytes_max) {
    status =
        absl::InvalidArgumentError(Message(path, ": ", info.st_size, " bytes; wanted at most ", bytes_max));
  } else {
    bytes.resize(static_cast<size_t>(info.st_size));
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got = read(fd, bytes.data() + done, bytes.size() - done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) status = Failed("read", path, errno);
      if (got <= 0) break;
      done += static_cast<size_t>(got);
    }
    if (status.ok() && done < bytes.size()) {
      status = absl::UnavailableError(Message(path, ": shrank while it was read"));
    }
  }
  close(fd);
  if (!status.ok()) return status;
  return bytes;
}

}  // namespace retort::student
