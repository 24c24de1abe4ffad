#include "teacher/api_key.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace retort::teacher {
namespace {

constexpr size_t kKeyBytesMax = 4096;  // the longest keys in use are JSON web tokens of about 2 KiB

std::string_view WithoutTrailingSpace(std::string_view text) {
  while (!text.empty() &&
         (text.back() == '\n' || text.back() == '\r' || text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

// Visible ASCII only: a key with a line break in it would add headers to a request.
absl::Status CheckKey(std::string_view key, const std::string& source) {
  if (key.empty()) return absl::FailedPreconditionError(source + ": saw no characters, wanted an API key");
  if (key.size() > kKeyBytesMax) {
    return absl::FailedPreconditionError(source + ": saw more than 4096 characters, wanted an API key");
  }
  for (const char c : key) {
    if (c < 0x21 || c > 0x7E) {
      return absl::FailedPreconditionError(source +
                                           ": saw a character that is not visible ASCII, wanted an API key");
    }
  }
  return absl::OkStatus();
}

// Open to nobody but its owner; or root's, and readable by one group besides, which is how Kubernetes mounts
// a Secret for a user that is not root.
bool IsPrivate(const struct stat& file, uid_t reader) {
  return (file.st_mode & 077) == 0 || (file.st_uid == 0 && reader != 0 && (file.st_mode & 037) == 0);
}

struct FileDescriptor {
  int fd;
  ~FileDescriptor() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace

absl::StatusOr<ApiKey> ApiKey::FromFile(const std::string& path) {
  const FileDescriptor file{
      open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};  // a FIFO must not block us
  if (file.fd < 0) return absl::FailedPreconditionError("API key file " + path + ": " + strerror(errno));
  struct stat facts {};
  if (fstat(file.fd, &facts) != 0)
    return absl::FailedPreconditionError("API key file " + path + ": " + strerror(errno));
  if (!S_ISREG(facts.st_mode))
    return absl::FailedPreconditionError("API key file " + path + ": not a regular file");
  if (!IsPrivate(facts, geteuid())) {
    std::array<char, 8> mode{};
    std::snprintf(mode.data(), mode.size(), "%04o", facts.st_mode & 07777);
    return absl::FailedPreconditionError(
        "API key file " + path + ": saw mode " + mode.data() +
        ", wanted 0600 or 0400, so that only its owner can read it, or 0440 of root");
  }
  std::array<char, kKeyBytesMax + 2> buffer;
  size_t size = 0;
  while (size < buffer.size()) {
    const ssize_t got = read(file.fd, buffer.data() + size, buffer.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::FailedPreconditionError("API key file " + path + ": " + strerror(errno));
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  const std::string_view key = WithoutTrailingSpace({buffer.data(), size});
  const absl::Status checked = CheckKey(key, "API key file " + path);
  absl::StatusOr<ApiKey> result = checked.ok() ? absl::StatusOr<ApiKey>(ApiKey(key)) : checked;
  explicit_bzero(buffer.data(), buffer.size());
  return result;
}

absl::StatusOr<ApiKey> ApiKey::FromEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return absl::FailedPreconditionError("environment variable " + name + " is not set");
  const std::string_view key = WithoutTrailingSpace(value);
  if (auto checked = CheckKey(key, "environment variable " + name); !checked.ok()) return checked;
  return ApiKey(key);
}

ApiKey::ApiKey(std::string_view key) : bytes_(std::make_unique<char[]>(key.size())), size_(key.size()) {
  key.copy(bytes_.get(), key.size());
}

ApiKey::ApiKey(ApiKey&& other) noexcept
    : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}

ApiKey& ApiKey::operator=(ApiKey&& other) noexcept {
  if (this == &other) return *this;
  Wipe();
  bytes_ = std::move(other.bytes_);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

ApiKey::~ApiKey() {
  Wipe();
}

void ApiKey::Wipe() {
  if (bytes_ != nullptr) explicit_bzero(bytes_.get(), size_);
}

}  // namespace retort::teacher
