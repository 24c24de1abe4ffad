// One rank of collectives_test: joins, does what the scenario says, checks what it got.
//   collectives_rank NAME DATA EXPERTS SCENARIO
// Exit status: 0 all as expected; 2 the world could not be joined or the run ended (the reason is printed); 3
// something was not as expected.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "student/parallel/rank_environment.h"
#include "student/parallel/shared_memory.h"

namespace retort::student {
namespace {

int failures = 0;

void Expect(bool condition, const char* what) {
  if (condition) return;
  std::printf("not as expected: %s\n", what);
  ++failures;
}

float Value(int rank, std::int64_t i) {
  return static_cast<float>(std::sin(static_cast<double>(rank * 7919 + i)) * std::pow(10.0, i % 9));
}

// Uneven parts, one of them empty when there are several.
std::vector<Part> PartsOf(int size, std::int64_t total) {
  std::vector<Part> parts;
  std::int64_t begin = 0;
  for (int r = 0; r < size; ++r) {
    const std::int64_t end = r == size - 1 ? total
                             : r == 1      ? begin
                                           : std::min(total, begin + total / size + 5 * r);
    parts.push_back({begin, end});
    begin = end;
  }
  return parts;
}

void Exchange(Collectives& group) {
  const int size = group.size(), rank = group.rank();
  for (const std::int64_t total : {std::int64_t{1}, std::int64_t{37}, std::int64_t{5000}}) {
    const std::vector<Part> parts = PartsOf(size, total);
    std::vector<float> data(static_cast<size_t>(total));
    for (std::int64_t i = 0; i < total; ++i) data[static_cast<size_t>(i)] = Value(rank, i);
    Expect(group.ReduceScatter(data.data(), parts, {}), "reduce-scatter");
    for (std::int64_t i = parts[rank].begin; i < parts[rank].end; ++i) {
      float sum = Value(0, i);
      for (int r = 1; r < size; ++r) sum += Value(r, i);
      Expect(data[static_cast<size_t>(i)] == sum, "a sum in rank order, bit for bit");
    }
    Expect(group.AllGather(data.data(), parts, {}), "all-gather");
    for (std::int64_t i = 0; i < total; ++i) {
      float sum = Value(0, i);
      for (int r = 1; r < size; ++r) sum += Value(r, i);
      Expect(data[static_cast<size_t>(i)] == sum, "every rank has every sum");
    }
    for (int root = 0; root < size; ++root) {
      std::vector<float> letter(static_cast<size_t>(total), -1.0f);
      if (rank == root) {
        for (std::int64_t i = 0; i < total; ++i) letter[static_cast<size_t>(i)] = Value(root, i);
      }
      Expect(group.Broadcast(letter.data(), total * 4, root, {}), "broadcast");
      for (std::int64_t i = 0; i < total; ++i)
        Expect(letter[static_cast<size_t>(i)] == Value(root, i), "the root's bytes");
    }
  }
  // From s to r: 1000 * s + 3 * r floats, none from a rank to itself's neighbour.
  const auto count = [&](int s, int r) { return (s + 1) % 4 == r ? 0 : std::int64_t{1000} * s + 3 * r; };
  std::vector<Part> sends, receives;
  std::vector<float> send;
  std::int64_t to_come = 0;
  for (int r = 0; r < size; ++r) {
    const auto begin = static_cast<std::int64_t>(send.size()) * 4;
    for (std::int64_t i = 0; i < count(rank, r); ++i) send.push_back(Value(rank * 16 + r, i));
    sends.push_back({begin, static_cast<std::int64_t>(send.size()) * 4});
    receives.push_back({to_come * 4, (to_come + count(r, rank)) * 4});
    to_come += count(r, rank);
  }
  std::vector<float> receive(static_cast<size_t>(to_come), -1.0f);
  Expect(group.AllToAll(send.data(), sends, receive.data(), receives, {}), "all-to-all");
  for (int s = 0; s < size; ++s) {
    for (std::int64_t i = 0; i < count(s, rank); ++i) {
      Expect(receive[static_cast<size_t>(receives[s].begin / 4 + i)] == Value(s * 16 + rank, i),
             "what s sent");
    }
  }
  std::vector<double> doubles = {1.0 / (rank + 3), 1e18 * (rank == 0 ? 1 : -1)};
  std::vector<std::int64_t> integers = {rank, std::int64_t{1} << 60};
  Expect(group.SumHost(std::span<double>(doubles)), "sum of doubles");
  Expect(group.SumHost(std::span<std::int64_t>(integers)), "sum of integers");
  double wanted = 1.0 / 3;
  for (int r = 1; r < size; ++r) wanted += 1.0 / (r + 3);
  Expect(doubles[0] == wanted, "doubles in rank order");
  Expect(integers[0] == size * (size - 1) / 2, "sum of ranks");
  const std::vector<std::int64_t> mine = {rank * 10, rank * 10 + 1, -rank};
  std::vector<std::int64_t> all(mine.size() * static_cast<size_t>(size), -1);
  Expect(group.AllGatherHost(mine, all), "all-gather of counts");
  for (int r = 0; r < size; ++r) Expect(all[3 * r + 1] == r * 10 + 1 && all[3 * r + 2] == -r, "counts of r");
  Expect(group.Barrier(), "barrier");
}

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
    Exchange(world->all());
    Exchange(world->data());
    Exchange(world->experts());
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
