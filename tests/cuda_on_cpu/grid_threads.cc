// Threads of a block as OS threads, for ThreadSanitizer: a missing barrier is a data race and is reported as
// one.
//
// Blocks run one after another. A pool of OS threads is kept; a block uses as many as it has threads.
#ifdef RETORT_CUDA_ON_CPU_THREADS

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cassert>
#include <climits>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/cuda_on_cpu/grid.h"
#include "tests/cuda_on_cpu/report.h"
#include "tests/cuda_on_cpu/shared_memory.h"
#include "tests/cuda_on_cpu/warp_call.h"

thread_local uint3 threadIdx;
thread_local uint3 blockIdx;
thread_local dim3 blockDim;
thread_local dim3 gridDim;

namespace retort::cuda_on_cpu {
namespace {

constexpr unsigned kThreadsMax = 1024;
constexpr unsigned kWarpsMax = kThreadsMax / kWarpThreads;

// Sleeps at once: std::atomic::wait first yields, which a thousand threads on few cores pay for dearly.
void SleepWhile(std::atomic<int>* word, int value) {
  while (word->load(std::memory_order_acquire) == value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
  }
}
void WakeAll(std::atomic<int>* word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

// Lanes that wait for each other, guarded by the lock, which also orders memory between them as __syncwarp
// does. (A shuffle orders none on a device; here it does.)
struct Warp {
  std::mutex lock;
  WarpCall* waiting[kWarpThreads] = {};
  std::atomic<int> released[kWarpThreads] =
      {};  // how many calls of the lane were completed; lanes wait on it
  unsigned exited = 0;
};

struct Pool {
  std::mutex lock;
  std::condition_variable finish;
  std::vector<std::thread> threads;
  const GridLaunch* launch = nullptr;
  uint3 block = {0, 0, 0};
  unsigned count = 0;
  unsigned left = 0;
  // How many blocks a thread was given; it sleeps until there is one more. No lock hands out work: it would
  // order a thread that begins late after one that has ended, and a race between them would go unseen.
  std::atomic<int> turns[kThreadsMax] = {};

  // The block's barrier.
  std::mutex barrier_lock;
  unsigned waiting = 0, exited = 0, votes = 0, result = 0;
  std::atomic<int> barriers = 0;  // how many were passed; threads wait on it
  Site site = {nullptr, 0};
  uint3 first = {0, 0, 0};

  Warp warps[kWarpsMax];
};

Pool& ThePool() {
  static Pool& pool = *new Pool;
  return pool;
}

thread_local unsigned number = 0;  // of the running CUDA thread in its block

[[noreturn]] void Fault(const std::string& what) {
  ReportKernelFault("kernel %s, block %s: %s", ThePool().launch->name, Triple(blockIdx).c_str(),
                    what.c_str());
}

// Holds the warp's lock. Completes every call whose lanes are all there.
void CompleteReady(Warp* warp, unsigned warp_number) {
  for (unsigned lane = 0; lane < kWarpThreads; ++lane) {
    if (warp->waiting[lane] == nullptr) continue;
    const WarpCall& first = *warp->waiting[lane];
    const unsigned present = ThePool().count - warp_number * kWarpThreads;
    const unsigned existing = present >= kWarpThreads ? 0xffffffffu : (1u << present) - 1;
    const unsigned lanes = first.mask & existing & ~warp->exited;
    WarpCall* calls[kWarpThreads] = {};
    bool all = true;
    for (unsigned rest = lanes; rest != 0 && all; rest &= rest - 1) {
      const int at = std::countr_zero(rest);
      calls[at] = warp->waiting[at];
      all = calls[at] != nullptr && calls[at]->mask == first.mask;
      if (all && (calls[at]->kind != first.kind || !SameSite(calls[at]->site, first.site))) {
        Fault(std::string("warp divergence: lanes of one mask meet at ") + NameOf(first.kind) + " of " +
              Place(first.site) + " and at " + NameOf(calls[at]->kind) + " of " + Place(calls[at]->site));
      }
    }
    if (!all) continue;
    if (CompleteWarpCall(calls, lanes) >= 0) {
      Fault("a shuffle reads a lane that takes no part, at " + Place(first.site));
    }
    for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
      const int at = std::countr_zero(rest);
      warp->waiting[at] = nullptr;
      ++warp->released[at];
      WakeAll(&warp->released[at]);
    }
  }
}

void Leave() {
  Pool& pool = ThePool();
  Warp& warp = pool.warps[number / kWarpThreads];
  {
    const std::lock_guard<std::mutex> hold(warp.lock);
    warp.exited |= 1u << (number % kWarpThreads);
    CompleteReady(&warp, number / kWarpThreads);
  }
  {
    const std::lock_guard<std::mutex> hold(pool.barrier_lock);
    ++pool.exited;
    if (pool.waiting > 0) {
      Fault("barrier divergence: thread " + Triple(threadIdx) + " left the kernel while thread " +
            Triple(pool.first) + " waits at the barrier of " + Place(pool.site));
    }
  }
  const std::lock_guard<std::mutex> hold(pool.lock);
  if (--pool.left == 0) pool.finish.notify_all();
}

void Work(unsigned mine) {
  Pool& pool = ThePool();
  number = mine;
  int seen = 0;
  for (;;) {
    SleepWhile(&pool.turns[mine], seen);
    seen = pool.turns[mine];
    const GridLaunch* const launch = pool.launch;
    blockIdx = pool.block;
    gridDim = launch->grid;
    blockDim = launch->block;
    threadIdx = {mine % blockDim.x, mine / blockDim.x % blockDim.y, mine / blockDim.x / blockDim.y};
    launch->body();
    Leave();
  }
}

void RunBlock(const GridLaunch& launch, uint3 block) {
  Pool& pool = ThePool();
  std::unique_lock<std::mutex> hold(pool.lock);
  pool.launch = &launch;
  pool.block = block;
  pool.count = launch.block.x * launch.block.y * launch.block.z;
  assert(pool.count > 0 && pool.count <= kThreadsMax);
  pool.left = pool.count;
  pool.waiting = pool.exited = pool.votes = 0;
  for (unsigned warp = 0; warp * kWarpThreads < pool.count; ++warp) pool.warps[warp].exited = 0;
  while (pool.threads.size() < pool.count) {
    pool.threads.emplace_back(Work, static_cast<unsigned>(pool.threads.size()));
    pool.threads.back().detach();  // they wait for blocks as long as the process lives
  }
  for (unsigned i = 0; i < pool.count; ++i) {
    ++pool.turns[i];
    WakeAll(&pool.turns[i]);
  }
  pool.finish.wait(hold, [&] { return pool.left == 0; });
}

int Barrier(bool predicate, Site site) {
  Pool& pool = ThePool();
  std::unique_lock<std::mutex> hold(pool.barrier_lock);
  if (pool.exited > 0) {
    Fault("barrier divergence: thread " + Triple(threadIdx) + " waits at the barrier of " + Place(site) +
          ", another has left the kernel");
  }
  if (pool.waiting == 0) {
    pool.site = site;
    pool.first = threadIdx;
  } else if (!SameSite(site, pool.site)) {
    Fault("barrier divergence: thread " + Triple(threadIdx) + " waits at the barrier of " + Place(site) +
          ", thread " + Triple(pool.first) + " at that of " + Place(pool.site));
  }
  pool.votes += predicate ? 1 : 0;
  if (++pool.waiting == pool.count) {
    pool.result = pool.votes;
    pool.waiting = pool.votes = 0;
    ++pool.barriers;
    WakeAll(&pool.barriers);
  } else {
    const int mine = pool.barriers;
    hold.unlock();
    SleepWhile(&pool.barriers, mine);
  }
  return static_cast<int>(pool.result);
}

}  // namespace

void RunGrid(const GridLaunch& launch) {
  const std::uint64_t blocks = std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint64_t at = launch.reversed ? blocks - 1 - i : i;
    const SharedMemoryOfBlock shared(launch.shared_bytes);
    RunBlock(launch, {static_cast<unsigned>(at % launch.grid.x),
                      static_cast<unsigned>(at / launch.grid.x % launch.grid.y),
                      static_cast<unsigned>(at / launch.grid.x / launch.grid.y)});
  }
}

void BlockBarrier(Site site) {
  Barrier(false, site);
}
int BlockBarrierCount(int predicate, Site site) {
  return Barrier(predicate != 0, site);
}
void Trap(Site site) {
  Fault("__trap at " + Place(site) + ", thread " + Triple(threadIdx));
}

std::uint64_t WarpExchange(WarpKind kind, unsigned mask, std::uint64_t bits, int lane, int width,
                           bool is_signed, Site site) {
  WarpCall call;
  call.kind = kind;
  call.mask = mask;
  call.bits = bits;
  call.lane = lane;
  call.width = width;
  call.is_signed = is_signed;
  call.site = site;
  const unsigned self = number % kWarpThreads;
  if ((mask >> self & 1u) == 0) {
    Fault("thread " + Triple(threadIdx) + " calls " + NameOf(kind) + " at " + Place(site) +
          " with a mask that does not name it");
  }
  Warp& warp = ThePool().warps[number / kWarpThreads];
  const int before = warp.released[self];
  {
    const std::lock_guard<std::mutex> hold(warp.lock);
    warp.waiting[self] = &call;
    CompleteReady(&warp, number / kWarpThreads);
  }
  SleepWhile(&warp.released[self], before);
  return call.result;
}

}  // namespace retort::cuda_on_cpu

#endif  // RETORT_CUDA_ON_CPU_THREADS
