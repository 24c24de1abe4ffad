#include "ledger/private_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace retort::ledger {
namespace {

bool IsOneOfOurGroups(gid_t group) {
  if (group == getegid()) return true;
  const int count = getgroups(0, nullptr);
  if (count <= 0) return false;
  std::vector<gid_t> groups(static_cast<size_t>(count));
  if (getgroups(count, groups.data()) != count) return false;
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}

}  // namespace

absl::Status CheckPrivate(const std::string& path, const struct stat& info) {
  if (!S_ISREG(info.st_mode))
    return absl::FailedPreconditionError("key file " + path + " is not a regular file");
  if ((info.st_mode & 077) == 0) return absl::OkStatus();
  const bool handed_by_root = info.st_uid == 0 && geteuid() != 0 && (info.st_mode & 037) == 0;
  if (handed_by_root && IsOneOfOurGroups(info.st_gid)) return absl::OkStatus();
  return absl::FailedPreconditionError("key file " + path + " is open to group or others; wanted mode 0600");
}

absl::Status CheckPrivateFile(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    const std::string message = "key file " + path + ": " + std::strerror(errno);
    return errno == ENOENT ? absl::NotFoundError(message) : absl::FailedPreconditionError(message);
  }
  return CheckPrivate(path, info);
}

}  // namespace retort::ledger
