// Runs the threads of one launch. Two implementations, chosen when the rig is compiled: grid_fibres.cc
// (fibres on the caller's thread; all builds but ThreadSanitizer's) and grid_threads.cc (one OS thread for
// each CUDA thread, so that ThreadSanitizer sees a missing barrier as the race that it is).
//
// Both end the process with a report on standard error when a kernel breaks a rule that a device leaves
// undefined: barriers that not all threads of the block reach or that meet at different lines, warp
// operations whose lanes do not arrive, a shuffle from a lane that takes no part.
#ifndef TESTS_CUDA_ON_CPU_GRID_H_
#define TESTS_CUDA_ON_CPU_GRID_H_

#include <cstddef>
#include <functional>

#include "cuda_on_cpu/thread.h"

namespace retort::cuda_on_cpu {

struct GridLaunch {
  const char* name = "";
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
  std::function<void()> body;
  bool reversed = false;  // blocks, and threads between barriers, in descending order
};

// One launch at a time in the process: the caller holds the device's lock.
void RunGrid(const GridLaunch& launch);

// Prints "cuda_on_cpu: <what>: kernel <name>, block (x,y,z), thread (x,y,z)…" and aborts.
[[noreturn]] void ReportKernelFault(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_GRID_H_
