// NCCL behind libretort_cuda.so, for programs that link no CUDA library: ranks on devices.
//
//   if (!MakeNcclId(choice.library, &id, &problem)) ...   // rank 0, which sends it to the others
//   auto world = JoinNccl(choice, place, id, {}, &problem);
#ifndef STUDENT_DEVICE_NCCL_LIBRARY_H_
#define STUDENT_DEVICE_NCCL_LIBRARY_H_

#include <chrono>
#include <memory>
#include <string>

#include "student/device/device.h"
#include "student/parallel/collectives.h"

namespace retort::student {

struct NcclPatience {
  std::chrono::milliseconds join = std::chrono::seconds(120);  // until all ranks have come
  std::chrono::milliseconds call = std::chrono::minutes(30);   // for one exchange
};

// False with one sentence when the library is missing, was built without NCCL, or NCCL refuses.
bool MakeNcclId(const std::string& library, std::string* id, std::string* problem);

// Null with one sentence: as MakeNcclId, or not all ranks have come in time. choice is of a CUDA device.
std::unique_ptr<World> JoinNccl(const DeviceChoice& choice, const RankPlace& place, const std::string& id,
                                const NcclPatience& patience, std::string* problem);

}  // namespace retort::student

#endif  // STUDENT_DEVICE_NCCL_LIBRARY_H_
