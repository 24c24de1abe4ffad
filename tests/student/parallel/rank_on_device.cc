#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "student/device/cuda/cuda_backend.h"
#include "student/device/cuda/nccl_world.h"
#include "tests/student/parallel/rank_setup.h"

namespace retort::student {

const int kRowLengthOfRank = 12, kStepsOfRank = 4, kStepsToCheckpoint = 2;

std::unique_ptr<Backend> OpenRankBackend(ThreadPool&) {
  std::string problem;
  auto backend = OpenCudaBackend(0, Element::kF32, &problem);
  if (backend == nullptr) {
    std::printf("no backend: %s\n", problem.c_str());
    std::exit(3);
  }
  return backend;
}

// Rank 0 leaves the id in a file of the launch's name, as a launcher would carry it; cards are the launcher's
// too.
std::unique_ptr<World> JoinRanksOfTest(const std::string& name, const RankPlace& place, const std::string&,
                                       std::string* problem) {
  const std::string path = "/tmp" + name + ".id";
  NcclOptions options;
  options.join_patience = std::chrono::seconds(20);
  std::string id;
  if (place.rank == 0) {
    if (!NcclId(&id, problem)) return nullptr;
    std::ofstream(path + ".new", std::ios::binary) << id;
    std::filesystem::rename(path + ".new", path);
  } else {
    const auto give_up = std::chrono::steady_clock::now() + options.join_patience;
    while (!std::filesystem::exists(path)) {
      if (std::chrono::steady_clock::now() > give_up) {
        *problem = "rank 0 has left no id";
        return nullptr;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    std::ifstream in(path, std::ios::binary);
    id.assign(std::istreambuf_iterator<char>(in), {});
  }
  auto world = JoinNcclWorld(place, id, 0, options, problem);
  if (place.rank == 0) std::filesystem::remove(path);
  return world;
}

}  // namespace retort::student
