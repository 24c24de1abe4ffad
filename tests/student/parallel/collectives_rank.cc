// One rank of collectives_test: joins, does what the scenario says, checks what it got.
//   collectives_rank NAME DATA EXPERTS SCENARIO
// Exit status: 0 all as expected; 2 the world could not be joined or the run ended (the reason is printed); 3
// something was not as expected.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "student/parallel/rank_environment.h"
#include "student/parallel/shared_memory.h"
#include "tests/student/parallel/exchange_scenario.h"

namespace retort::student {
namespace {

// Host memory.
class HostArray {
 public:
  explicit HostArray(const std::vector<float>& values) : values_(values) {}
  float* data() { return values_.data(); }
  std::vector<float> Read(Collectives&) { return values_; }

 private:
  std::vector<float> values_;
};

int Main(int argc, char** argv) {
  if (argc != 5) return 3;
  const std::string scenario = argv[4];
  RankEnvironment environment;
  std::string problem = ReadRankEnvironment([](const char* name) { return std::getenv(name); }, &environment);
  if (!problem.empty()) return 3;
  SharedMemoryOptions options;
  options.name = argv[1];
  options.place = {{std::atoi(argv[2]), std::atoi(argv[3])}, environment.rank};
  options.card = "binary aa, manifest bb";
  options.staging_bytes = 4096;  // many rounds
  options.join_patience = std::chrono::seconds(scenario == "missing" ? 1 : 30);
  options.patience = std::chrono::seconds(scenario == "stall" ? 1 : 60);
  const int rank = environment.rank, last = environment.world - 1;
  if (scenario == "other-card" && rank == last) options.card = "binary aa, manifest cc";
  if (scenario == "other-layout" && rank == last) options.place.layout = {1, environment.world};
  bool retry = false;
  const auto world = SharedMemoryWorld::Join(options, &problem, &retry);
  if (world == nullptr) {
    std::printf("not joined (%s): %s\n", retry ? "retry" : "final", problem.c_str());
    return 2;
  }
  std::printf("joined\n");
  std::fflush(stdout);
  const auto begun = std::chrono::steady_clock::now();
  if (scenario == "exchange") {
    Exchange<HostArray>(world->all());
    Exchange<HostArray>(world->data());
    Exchange<HostArray>(world->experts());
    Expect(world->all().Barrier(), "last barrier");
  } else if (scenario == "abort" && rank == last) {
    world->Abort("the disk is full");
  } else if (scenario == "die" && rank == last) {
    raise(SIGKILL);
  } else if (scenario == "stall" && rank == last) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  } else {
    while (world->all().Barrier()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (const std::string reason = world->failure(); !reason.empty()) {
    const auto waited = std::chrono::steady_clock::now() - begun;
    std::printf("ended after %.1f s: %s\n", std::chrono::duration<double>(waited).count(), reason.c_str());
    return 2;
  }
  return failures == 0 ? 0 : 3;
}

}  // namespace
}  // namespace retort::student

int main(int argc, char** argv) {
  return retort::student::Main(argc, argv);
}
