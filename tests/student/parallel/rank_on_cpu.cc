#include "student/device/cpu_backend.h"
#include "student/parallel/shared_memory.h"
#include "tests/student/parallel/rank_setup.h"

namespace retort::student {

const int kRowLengthOfRank = 48, kStepsOfRank = 8, kStepsToCheckpoint = 3;

std::unique_ptr<Backend> OpenRankBackend(ThreadPool& pool) {
  return MakeCpuBackend(pool);
}

std::unique_ptr<World> JoinRanksOfTest(const std::string& name, const RankPlace& place,
                                       const std::string& card, std::string* problem) {
  bool retry = false;
  return SharedMemoryWorld::Join({.name = name, .place = place, .card = card}, problem, &retry);
}

}  // namespace retort::student
