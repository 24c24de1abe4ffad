#include "services/edge/disk_room.h"

#include <sys/statvfs.h>

#include <cerrno>
#include <cstring>

namespace retort::services {

absl::Status CheckDiskRoom(const std::string& folder) {
  struct statvfs info {};
  if (statvfs(folder.c_str(), &info) != 0) {
    return absl::UnavailableError(folder + ": cannot ask for the room on its disk: " + std::strerror(errno));
  }
  if ((info.f_flag & ST_RDONLY) != 0)
    return absl::UnavailableError(folder + ": its file system is mounted read-only");
  const uint64_t room = uint64_t{info.f_bavail} * info.f_frsize;
  if (room >= kDiskRoomBytes) return absl::OkStatus();
  return absl::UnavailableError(folder + ": " + std::to_string(room) +
                                " bytes are free on its disk, wanted " + std::to_string(kDiskRoomBytes));
}

}  // namespace retort::services
