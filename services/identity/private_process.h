// Keeps what a process has in memory to itself.
#ifndef SERVICES_IDENTITY_PRIVATE_PROCESS_H_
#define SERVICES_IDENTITY_PRIVATE_PROCESS_H_

#include "absl/status/status.h"

namespace retort::services {

// Keys and texts of samples are in memory: no core file may be written (RLIMIT_CORE 0, soft and hard, for
// children too) and no other process of the same user may attach or read /proc/<pid>/mem (PR_SET_DUMPABLE 0,
// until exec). Called first in main. Internal when the system refuses.
absl::Status KeepMemoryPrivate();

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_PRIVATE_PROCESS_H_
