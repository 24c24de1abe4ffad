// Threads of a block as fibres, scheduled in turn: a thread runs until it waits or ends. A fibre whose thread
// ends takes the next one that has not started, so a kernel without barriers costs little more than calls.
#ifndef RETORT_CUDA_ON_CPU_THREADS

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "tests/cuda_on_cpu/fibre.h"
#include "tests/cuda_on_cpu/grid.h"
#include "tests/cuda_on_cpu/report.h"
#include "tests/cuda_on_cpu/shared_memory.h"
#include "tests/cuda_on_cpu/warp_call.h"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace retort::cuda_on_cpu {
namespace {

struct Thread {
  uint3 index = {0, 0, 0};
  Fibre* fibre = nullptr;
  bool exited = false;
  bool in_warp_call = false;
  WarpCall call;
};

class Block {
 public:
  void Run(const GridLaunch& launch);
  int Barrier(bool predicate, Site site);
  std::uint64_t Exchange(const WarpCall& call);
  [[noreturn]] void Fault(const std::string& what) const;

 private:
  static void FibreMain();

  void Push(unsigned thread) { ready_[ready_end_++ % kQueue] = thread; }
  unsigned Pop() { return ready_[ready_begin_++ % kQueue]; }
  bool HasReady() const { return ready_begin_ != ready_end_; }

  unsigned StartNext();            // the number of a thread that has not run yet
  void Leave();                    // the running thread ended
  void Wait();                     // the running thread waits: others run until it is ready
  void Continue(unsigned thread);  // switches to it
  bool CompleteWarp(unsigned warp, unsigned mask);
  [[noreturn]] void Stuck() const;

  static constexpr unsigned kQueue = 2048;  // a power of two beyond the 1,024 threads of a block

  const GridLaunch* launch_ = nullptr;
  std::vector<Thread> threads_;
  unsigned count_ = 0;
  unsigned started_ = 0;
  unsigned exited_ = 0;
  unsigned last_exited_ = 0;
  unsigned waiting_ = 0;
  unsigned barrier_votes_ = 0;
  unsigned barrier_result_ = 0;
  Site barrier_site_ = {nullptr, 0};
  unsigned barrier_first_ = 0;
  bool descending_ = false;
  unsigned current_ = 0;
  unsigned ready_[kQueue];
  unsigned ready_begin_ = 0, ready_end_ = 0;

  Fibre host_;
  Fibre* running_ = nullptr;
  std::vector<std::unique_ptr<Fibre>> fibres_;
  std::vector<Fibre*> idle_;
};

// Kept for the life of the process: stacks are worth reusing, and a fibre finds its block here.
Block& TheBlock() {
  static Block& block = *new Block;
  return block;
}

void Block::Fault(const std::string& what) const {
  ReportKernelFault("kernel %s, block %s: %s", launch_->name, Triple(blockIdx).c_str(), what.c_str());
}

void Block::Run(const GridLaunch& launch) {
  launch_ = &launch;
  count_ = launch.block.x * launch.block.y * launch.block.z;
  assert(count_ > 0 && count_ <= kQueue / 2);
  threads_.resize(std::max<std::size_t>(threads_.size(), count_));
  unsigned at = 0;
  for (unsigned z = 0; z < launch.block.z; ++z) {
    for (unsigned y = 0; y < launch.block.y; ++y) {
      for (unsigned x = 0; x < launch.block.x; ++x) {
        Thread& thread = threads_[at++];
        thread.index = {x, y, z};
        thread.fibre = nullptr;
        thread.exited = thread.in_warp_call = false;
      }
    }
  }
  started_ = exited_ = waiting_ = barrier_votes_ = 0;
  ready_begin_ = ready_end_ = 0;
  descending_ = launch.reversed;
  if (idle_.empty()) {
    fibres_.push_back(std::make_unique<Fibre>(&FibreMain));
    idle_.push_back(fibres_.back().get());
  }
  Fibre* first = idle_.back();
  idle_.pop_back();
  current_ = StartNext();
  threads_[current_].fibre = first;
  running_ = first;
  Fibre::Switch(&host_, first);
}

unsigned Block::StartNext() {
  const unsigned order = started_++;
  return launch_->reversed ? count_ - 1 - order : order;
}

void Block::FibreMain() {
  Block& block = TheBlock();
  for (;;) {
    threadIdx = block.threads_[block.current_].index;
    block.launch_->body();
    block.Leave();
  }
}

void Block::Leave() {
  Thread& self = threads_[current_];
  self.exited = true;
  last_exited_ = current_;
  ++exited_;
  if (waiting_ > 0) {
    Fault("barrier divergence: thread " + Triple(self.index) + " left the kernel while thread " +
          Triple(threads_[barrier_first_].index) + " waits at the barrier of " + Place(barrier_site_));
  }
  const unsigned warp = current_ / kWarpThreads;
  for (unsigned lane = 0; lane < kWarpThreads && warp * kWarpThreads + lane < count_; ++lane) {
    const Thread& other = threads_[warp * kWarpThreads + lane];
    if (other.in_warp_call && (other.call.mask >> (current_ % kWarpThreads) & 1u))
      CompleteWarp(warp, other.call.mask);
  }
  if (started_ < count_) {  // the next thread on this fibre
    current_ = StartNext();
    threads_[current_].fibre = self.fibre;
    return;
  }
  Fibre* mine = self.fibre;
  idle_.push_back(mine);
  if (HasReady()) {
    current_ = Pop();
    running_ = threads_[current_].fibre;
    Fibre::Switch(mine, running_);
  } else if (exited_ == count_) {
    Fibre::Switch(mine, &host_);
  } else {
    Stuck();
  }
}

void Block::Continue(unsigned thread) {
  Fibre* from = running_;
  current_ = thread;
  running_ = threads_[thread].fibre;
  if (running_ != from) Fibre::Switch(from, running_);
}

void Block::Wait() {
  const unsigned self = current_;
  if (started_ < count_) {
    if (idle_.empty()) {
      fibres_.push_back(std::make_unique<Fibre>(&FibreMain));
      idle_.push_back(fibres_.back().get());
    }
    const unsigned next = StartNext();
    threads_[next].fibre = idle_.back();
    idle_.pop_back();
    Continue(next);
  } else if (HasReady()) {
    Continue(Pop());
  } else {
    Stuck();
  }
  threadIdx = threads_[self].index;  // someone made this thread ready and switched back to it
}

int Block::Barrier(bool predicate, Site site) {
  Thread& self = threads_[current_];
  if (exited_ > 0) {
    Fault("barrier divergence: thread " + Triple(self.index) + " waits at the barrier of " + Place(site) +
          ", thread " + Triple(threads_[last_exited_].index) + " has left the kernel");
  }
  if (waiting_ == 0) {
    barrier_site_ = site;
    barrier_first_ = current_;
  } else if (!SameSite(site, barrier_site_)) {
    Fault("barrier divergence: thread " + Triple(self.index) + " waits at the barrier of " + Place(site) +
          ", thread " + Triple(threads_[barrier_first_].index) + " at that of " + Place(barrier_site_));
  }
  barrier_votes_ += predicate ? 1 : 0;
  if (++waiting_ == count_) {
    barrier_result_ = barrier_votes_;
    waiting_ = barrier_votes_ = 0;
    descending_ = !descending_;  // so that an order that happens to hide a missing barrier does not last
    for (unsigned i = 0; i < count_; ++i) Push(descending_ ? count_ - 1 - i : i);
  }
  Wait();
  return static_cast<int>(barrier_result_);
}

// When every lane that must come is there: results for all, the waiting ones ready. The caller's lane, if it
// is one of them, is made ready too.
bool Block::CompleteWarp(unsigned warp, unsigned mask) {
  WarpCall* calls[kWarpThreads] = {};
  unsigned lanes = 0;
  const WarpCall* first = nullptr;
  for (unsigned lane = 0; lane < kWarpThreads; ++lane) {
    const unsigned number = warp * kWarpThreads + lane;
    if ((mask >> lane & 1u) == 0 || number >= count_ || threads_[number].exited) continue;
    Thread& thread = threads_[number];
    if (!thread.in_warp_call || thread.call.mask != mask) return false;
    if (first == nullptr) first = &thread.call;
    if (thread.call.kind != first->kind || !SameSite(thread.call.site, first->site)) {
      Fault(std::string("warp divergence: lanes of one mask meet at ") + NameOf(first->kind) + " of " +
            Place(first->site) + " and at " + NameOf(thread.call.kind) + " of " + Place(thread.call.site) +
            " (thread " + Triple(thread.index) + ")");
    }
    calls[lane] = &thread.call;
    lanes |= 1u << lane;
  }
  if (lanes == 0) return false;
  const int wrong = CompleteWarpCall(calls, lanes);
  if (wrong >= 0) {
    Fault("thread " + Triple(threads_[warp * kWarpThreads + wrong].index) +
          " shuffles from a lane that takes no part, at " + Place(first->site));
  }
  for (unsigned rest = lanes; rest != 0; rest &= rest - 1) {
    const unsigned number = warp * kWarpThreads + std::countr_zero(rest);
    threads_[number].in_warp_call = false;
    Push(number);
  }
  return true;
}

std::uint64_t Block::Exchange(const WarpCall& call) {
  Thread& self = threads_[current_];
  if ((call.mask >> (current_ % kWarpThreads) & 1u) == 0) {
    Fault("thread " + Triple(self.index) + " calls " + NameOf(call.kind) + " at " + Place(call.site) +
          " with a mask that does not name it");
  }
  self.call = call;
  self.in_warp_call = true;
  CompleteWarp(current_ / kWarpThreads, call.mask);
  Wait();
  return self.call.result;
}

void Block::Stuck() const {
  std::string what = "no thread can go on:";
  int told = 0;
  for (unsigned i = 0; i < count_ && told < 4; ++i) {
    const Thread& thread = threads_[i];
    if (thread.in_warp_call) {
      char mask[16];
      std::snprintf(mask, sizeof(mask), "%08x", thread.call.mask);
      what += std::string(" thread ") + Triple(thread.index) + " waits in " + NameOf(thread.call.kind) +
              " of " + Place(thread.call.site) + " for mask " + mask + ";";
      ++told;
    }
  }
  if (waiting_ > 0) {
    what += " " + std::to_string(waiting_) + " of " + std::to_string(count_) +
            " threads wait at the barrier of " + Place(barrier_site_);
  }
  Fault("barrier or warp divergence: " + what);
}

}  // namespace

void RunGrid(const GridLaunch& launch) {
  Block& block = TheBlock();
  gridDim = launch.grid;
  blockDim = launch.block;
  const std::uint64_t blocks = std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  for (std::uint64_t i = 0; i < blocks; ++i) {
    const std::uint64_t at = launch.reversed ? blocks - 1 - i : i;
    blockIdx = {static_cast<unsigned>(at % launch.grid.x),
                static_cast<unsigned>(at / launch.grid.x % launch.grid.y),
                static_cast<unsigned>(at / launch.grid.x / launch.grid.y)};
    SharedMemoryOfBlock shared(launch.shared_bytes);
    block.Run(launch);
  }
}

void BlockBarrier(Site site) {
  TheBlock().Barrier(false, site);
}
int BlockBarrierCount(int predicate, Site site) {
  return TheBlock().Barrier(predicate != 0, site);
}
void Trap(Site site) {
  TheBlock().Fault("__trap at " + Place(site) + ", thread " + Triple(threadIdx));
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
  return TheBlock().Exchange(call);
}

}  // namespace retort::cuda_on_cpu

#endif  // RETORT_CUDA_ON_CPU_THREADS
