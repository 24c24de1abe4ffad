// Whether a folder's disk takes writes: asked before they fail, for readiness.
#ifndef SERVICES_EDGE_DISK_ROOM_H_
#define SERVICES_EDGE_DISK_ROOM_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace retort::services {

// With less, a log or a database is about to fail.
inline constexpr uint64_t kDiskRoomBytes = uint64_t{16} << 20;

// Unavailable when the folder's file system is mounted read-only, has less than kDiskRoomBytes for this user,
// or cannot be asked; the message names the folder.
absl::Status CheckDiskRoom(const std::string& folder);

}  // namespace retort::services

#endif  // SERVICES_EDGE_DISK_ROOM_H_
