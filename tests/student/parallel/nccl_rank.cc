// One rank of nccl_test: the collectives of NCCL, over the CUDA of tests/cuda_on_cpu.
//   nccl_rank FOLDER DATA EXPERTS SCENARIO
// What happens happens to the last rank.
// Rank 0 leaves the id in FOLDER. Exit status as collectives_rank.
#include <cuda_runtime.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "student/device/cuda/nccl_world.h"
#include "student/parallel/rank_environment.h"
#include "tests/cuda_on_cpu/rig.h"
#include "tests/student/parallel/exchange_scenario.h"

namespace retort::student {
namespace {

// Device memory.
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<float>& values) : size_(values.size()) {
    Expect(cudaMalloc(reinterpret_cast<void**>(&data_), Bytes()) == cudaSuccess, "device memory");
    Expect(cudaMemcpy(data_, values.data(), Bytes(), cudaMemcpyHostToDevice) == cudaSuccess,
           "a copy to the device");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  float* data() { return data_; }
  std::vector<float> Read(Collectives& group) {
    Expect(group.Finish({}), "the stream ends");
    std::vector<float> values(size_);
    Expect(cudaMemcpy(values.data(), data_, Bytes(), cudaMemcpyDeviceToHost) == cudaSuccess,
           "a copy to the host");
    return values;
  }

 private:
  std::size_t Bytes() const { return size_ * sizeof(float); }
  const std::size_t size_;
  float* data_ = nullptr;
};

std::string IdOf(const std::string& folder, int rank) {
  const std::string path = folder + "/id";
  if (rank == 0) {
    std::string id, problem;
    Expect(NcclId(&id, &problem), problem.c_str());
    std::ofstream(path + ".new", std::ios::binary) << id;
    std::filesystem::rename(path + ".new", path);
    return id;
  }
  while (!std::filesystem::exists(path)) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

int Main(int argc, char** argv) {
  if (argc != 5) return 3;
  const std::string scenario = argv[4];
  RankEnvironment environment;
  std::string problem = ReadRankEnvironment([](const char* name) { return std::getenv(name); }, &environment);
  if (!problem.empty()) return 3;
  const RankPlace place = {{std::atoi(argv[2]), std::atoi(argv[3])}, environment.rank};
  NcclOptions options;
  options.join_patience = std::chrono::seconds(scenario == "missing" ? 2 : 60);
  options.patience = std::chrono::seconds(scenario == "stall" ? 2 : 60);
  if (scenario == "die-far" && place.rank == environment.world - 1) options.machine = "another";
  std::string id = IdOf(argv[1], place.rank);
  if (scenario == "short-id") id.resize(5);
  const std::unique_ptr<World> world = JoinNcclWorld(place, id, 0, options, &problem);
  if (world == nullptr) {
    std::printf("not joined: %s\n", problem.c_str());
    return 2;
  }
  const int last = environment.world - 1;
  if (scenario == "exchange") {
    Exchange<DeviceArray>(world->all(), false);
    Exchange<DeviceArray>(world->data(), false);
    Exchange<DeviceArray>(world->experts(), false);
    Expect(world->all().Barrier(), "last barrier");
  } else if (scenario.starts_with("die") && place.rank == last) {
    raise(SIGKILL);
  } else if (scenario == "stall" && place.rank == last) {
    std::this_thread::sleep_for(std::chrono::seconds(6));
  } else if (scenario == "abort" && place.rank == last) {
    world->Abort("the disk is full");
  } else {
    // On the device's own stream, where only the watch can end the waiting.
    DeviceArray data(std::vector<float>(16, 1.0f));
    const std::vector<Part> parts = PartsOf(environment.world, 16, false);
    if (scenario == "lose" && place.rank == last) cuda_on_cpu::FailDevice(cudaErrorECCUncorrectable);
    while (world->all().ReduceScatter(data.data(), parts, {}) && world->all().Finish({})) {
    }
  }
  if (const std::string reason = world->failure(); !reason.empty()) {
    std::printf("ended: %s\n", reason.c_str());
    return 2;
  }
  return failures == 0 ? 0 : 3;
}

}  // namespace
}  // namespace retort::student

int main(int argc, char** argv) {
  return retort::student::Main(argc, argv);
}
