// Entries per second of a real log beside the floors of the same run: verifying two signatures for each
// entry, and one synced RocksDB batch of the same bytes. Prints one JSON line. Usage: ledger_append_bench
// [seconds for each part]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "ledger/internal/store.h"
#include "ledger/log.h"
#include "tests/ledger/log_fixture.h"

namespace retort::ledger {
namespace {

// Calls `work` on `threads` threads until the time is over; returns calls per second.
double Rate(int threads, double seconds, const std::function<bool(int64_t)>& work) {
  std::atomic<int64_t> next{0}, done{0};
  const auto begin = std::chrono::steady_clock::now();
  const auto elapsed = [begin] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      while (elapsed() < seconds) {
        if (!work(next.fetch_add(1))) std::abort();
        ++done;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  return static_cast<double>(done) / elapsed();
}

int Run(double seconds) {
  const std::string path = "ledger_append_bench.tmp";
  std::filesystem::remove_all(path);
  const TestKeys keys = TestKeys::Make();
  const absl::StatusOr<VerifyingKey> teacher = VerifyingKey::Parse(keys.teacher.vkey());
  const absl::StatusOr<VerifyingKey> policy = VerifyingKey::Parse(keys.policy.vkey());
  const AppendRequest sample = MakeSample(keys, {});
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const double verify = Rate(cores, seconds, [&](int64_t) {
    return VerifyStatement(*teacher, StatementType::kCapture, sample.statements[0]).ok() &&
           VerifyStatement(*policy, StatementType::kDecision, sample.statements[1]).ok();
  });

  const std::string leaf = *EncodeEntry({.kind = EntryKind::kSample, .statements = sample.statements});
  absl::StatusOr<std::unique_ptr<internal::Store>> store = internal::Store::Open(path + "/floor", nullptr);
  if (!store.ok()) return 1;
  constexpr int kGroup = 64;
  const auto synced = [&](int group) {
    return group * Rate(1, seconds, [&, group](int64_t n) {
             internal::Store::Batch batch(**store);
             for (int i = 0; i < group; ++i) {
               const std::string key = internal::BigEndian(static_cast<uint64_t>(n * group + i));
               batch.Put(internal::Family::kEntries, key, leaf);
               batch.Put(internal::Family::kPayloads, key, sample.payload);
             }
             return (*store)->WriteSynced(batch).ok();
           });
  };
  const double disk_one = synced(1);
  const double disk_group = synced(kGroup);

  // Signed beforehand: making statements is the services' work.
  std::vector<AppendRequest> requests;
  for (int64_t i = 0; i < static_cast<int64_t>(verify * seconds * 3) + 1000; ++i) {
    requests.push_back(MakeSample(keys, {.index = i}));
  }
  std::printf("{\"verify_two_per_entry\":%.0f,\"synced_batch_1\":%.0f,\"synced_batch_%d\":%.0f", verify,
              disk_one, kGroup, disk_group);
  for (const int writers : {1, 16, 64}) {
    absl::StatusOr<std::unique_ptr<Log>> log =
        Log::Open(MakeOptions(keys, path + "/log" + std::to_string(writers)));
    if (!log.ok()) return 1;
    const double rate = Rate(writers, seconds, [&](int64_t n) {
      return (*log)->Append(requests[static_cast<size_t>(n) % requests.size()]).ok();
    });
    // One writer waits for verifying and the disk in turn; many are bound by the slower of the two.
    const double floor = writers == 1 ? 1 / (static_cast<double>(cores) / verify + 1 / disk_one)
                                      : std::min(verify, disk_group);
    std::printf(",\"writers_%d\":%.0f,\"ratio_%d\":%.2f", writers, rate, writers, rate / floor);
  }
  std::printf("}\n");
  store->reset();
  std::filesystem::remove_all(path);
  return 0;
}

}  // namespace
}  // namespace retort::ledger

int main(int argc, char** argv) {
  return retort::ledger::Run(argc > 1 ? std::atof(argv[1]) : 2.0);
}
