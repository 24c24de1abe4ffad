#include "services/identity/private_process.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace retort::services {

absl::Status KeepMemoryPrivate() {
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) {
    return absl::InternalError(std::string("core files cannot be switched off: ") + std::strerror(errno));
  }
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    return absl::InternalError(std::string("memory cannot be closed to other processes: ") +
                               std::strerror(errno));
  }
  return absl::OkStatus();
}

}  // namespace retort::services
