#include "student/inference/step_crew.h"

#include <sched.h>

#include <algorithm>
#include <cassert>

namespace retort::student {
namespace {

// About 50 microseconds: longer than any gap inside a step, shorter than anybody would notice in a CPU bill.
constexpr int kSpins = 1500;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

constexpr uint64_t kLoop = uint64_t{1} << 32;

}  // namespace

int32_t StepCrew::DefaultThreads() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0) return 1;
  return std::max(1, CPU_COUNT(&cpus));
}

StepCrew::StepCrew(int32_t threads) {
  assert(threads >= 1);
  for (int32_t worker = 1; worker < threads; ++worker)
    workers_.emplace_back([this, worker] { Work(worker); });
}

StepCrew::~StepCrew() {
  stop_ = true;
  wake_.fetch_add(1);
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void StepCrew::RunErased(int32_t tasks, Call call, const void* body) {
  if (tasks <= 0) return;
  // Every task of the loop before is done, so nobody can claim one; the odd number keeps late-comers off
  // while the fields change: their claim names a loop that is over.
  const uint64_t closed = (ticket_.load() / kLoop + 1) * kLoop;
  ticket_.store(closed);
  call_.store(call, std::memory_order_relaxed);
  body_.store(body, std::memory_order_relaxed);
  tasks_.store(tasks, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  const uint64_t open = closed + kLoop;
  ticket_.store(open);
  if (sleepers_.load() > 0) {
    wake_.fetch_add(1);
    wake_.notify_all();
  }
  WorkOn(open, 0);
  for (int spins = 0; done_.load(std::memory_order_acquire) != tasks; ++spins) {
    if (spins < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();  // a paused thread is in the middle of a task: let it run
    }
  }
}

void StepCrew::WorkOn(uint64_t ticket, int32_t worker) {
  const uint64_t loop = ticket / kLoop;
  const Call call = call_.load(std::memory_order_relaxed);
  const void* body = body_.load(std::memory_order_relaxed);
  const int32_t tasks = tasks_.load(std::memory_order_relaxed);
  // The claim fails when the loop has moved on, and then the three values above, perhaps of two loops, are
  // not used.
  while (ticket / kLoop == loop && static_cast<int32_t>(ticket % kLoop) < tasks) {
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1)) continue;
    call(body, static_cast<int32_t>(ticket % kLoop), worker);
    done_.fetch_add(1, std::memory_order_release);
    ticket = ticket_.load();
  }
}

void StepCrew::Work(int32_t worker) {
  uint64_t seen = 0;  // the last loop worked on
  int spins = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    const uint64_t ticket = ticket_.load();
    const uint64_t loop = ticket / kLoop;
    if (loop != seen && loop % 2 == 0) {
      WorkOn(ticket, worker);
      seen = loop;
      spins = 0;
    } else if (++spins < kSpins) {
      Pause();
    } else {
      // Announce, then look once more: either Run sees the sleeper, or the sleeper sees the new loop.
      const uint32_t wake = wake_.load();
      sleepers_.fetch_add(1);
      if (ticket_.load() / kLoop == loop && !stop_.load()) wake_.wait(wake);
      sleepers_.fetch_sub(1);
      spins = 0;
    }
  }
}

}  // namespace retort::student
