#include "student/device/nccl_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "student/device/cuda_library.h"

namespace retort::student {
namespace {

// A function of the library, which stays loaded; null with *problem.
template <typename Function>
Function* Find(const std::string& path, const char* name, std::string* problem) {
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    *problem = "the CUDA library does not load: " + std::string(dlerror());
    return nullptr;
  }
  auto* const function = reinterpret_cast<Function*>(dlsym(handle, name));
  if (function == nullptr) *problem = path + " was built without NCCL; runs of several devices need it";
  return function;
}

}  // namespace

bool MakeNcclId(const std::string& library, std::string* id, std::string* problem) {
  auto* const make = Find<RetortNcclIdFunction>(library, "RetortNcclId", problem);
  if (make == nullptr) return false;
  char bytes[128], text[512] = {};
  const int size = make(bytes, text, sizeof(text));
  if (size == 0) {
    *problem = text;
    return false;
  }
  id->assign(bytes, static_cast<std::size_t>(size));
  return true;
}

std::unique_ptr<World> JoinNccl(const DeviceChoice& choice, const RankPlace& place, const std::string& id,
                                const NcclPatience& patience, std::string* problem) {
  auto* const join = Find<RetortNcclJoinFunction>(choice.library, "RetortNcclJoin", problem);
  if (join == nullptr) return nullptr;
  char text[1024] = {};
  const int ordinal = std::atoi(choice.device.c_str() + choice.device.find(':') + 1);
  std::unique_ptr<World> world(join(&place, id.data(), id.size(), ordinal, patience.join.count(),
                                    patience.call.count(), text, sizeof(text)));
  if (world == nullptr) *problem = text;
  return world;
}

}  // namespace retort::student
