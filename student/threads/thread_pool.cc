#include "student/threads/thread_pool.h"

#include <sched.h>

#include <atomic>
#include <cassert>
#include <thread>
#include <vector>

namespace retort::student {
namespace {

// A sleeping thread costs tens of microseconds to wake, about one small matrix product, so look a while
// first.
constexpr int kSpins = 4000;

// Returns once value != old. Looks kSpins times, then sleeps.
template <typename T>
void AwaitChange(const std::atomic<T>& value, T old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  const std::function<void(std::int64_t, int)>* task = nullptr;
  std::int64_t tasks = 0;
  std::atomic<std::int64_t> next{0};
  std::atomic<std::uint32_t> loop{0};  // number of the current Run; a change starts the workers
  std::atomic<int> busy{0};            // workers that have not yet finished the current Run
  std::atomic<bool> stop{false};
  std::atomic<bool> running{false};

  void Work(int worker) {
    for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) (*task)(i, worker);
  }

  void WorkerMain(int worker) {
    for (std::uint32_t seen = 0;;) {
      AwaitChange(loop, seen);
      ++seen;  // Run waits for every worker, so loops are never skipped
      if (stop.load(std::memory_order_acquire)) return;
      Work(worker);
      if (busy.fetch_sub(1, std::memory_order_acq_rel) == 1) busy.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads), state_(std::make_unique<State>()) {
  assert(threads >= 1);
  for (int worker = 1; worker < threads; ++worker) {
    state_->workers.emplace_back([state = state_.get(), worker] { state->WorkerMain(worker); });
  }
}

ThreadPool::~ThreadPool() {
  assert(!state_->running.load());
  state_->stop.store(true, std::memory_order_release);
  state_->loop.fetch_add(1, std::memory_order_release);
  state_->loop.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::DefaultThreads() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) > 0) return CPU_COUNT(&cpus);
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : static_cast<int>(count);
}

void ThreadPool::Run(std::int64_t tasks, const std::function<void(std::int64_t, int)>& task) {
  if (threads_ == 1 || tasks <= 1) {
    for (std::int64_t i = 0; i < tasks; ++i) task(i, 0);
    return;
  }
  State& state = *state_;
  [[maybe_unused]] const bool nested = state.running.exchange(true);
  assert(!nested);
  state.task = &task;
  state.tasks = tasks;
  state.next.store(0, std::memory_order_relaxed);
  state.busy.store(threads_ - 1, std::memory_order_relaxed);
  state.loop.fetch_add(1, std::memory_order_release);
  state.loop.notify_all();
  state.Work(0);
  for (int busy; (busy = state.busy.load(std::memory_order_acquire)) != 0;) AwaitChange(state.busy, busy);
  state.running.store(false);
}

}  // namespace retort::student
