// The state behind the CUDA runtime's functions: one per process, guarded by one lock. Internal to the rig.
#ifndef TESTS_CUDA_ON_CPU_RUNTIME_H_
#define TESTS_CUDA_ON_CPU_RUNTIME_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "cuda_runtime_api.h"
#include "tests/cuda_on_cpu/device_memory.h"
#include "tests/cuda_on_cpu/rig.h"

namespace retort::cuda_on_cpu {

struct StreamState;
struct Capture;

// Up to and including operation `number` of a stream.
struct Point {
  std::shared_ptr<StreamState> stream;
  std::uint64_t number = 0;
};

struct Operation {
  std::function<bool()> progress;  // does what it can without waiting; true when the operation is done
  std::vector<Point> after;        // besides the operation before it in its stream
};

struct StreamState {
  int device = 0;
  bool waits_for_null = true;  // a blocking stream, ordered with the null stream
  bool is_null = false;
  std::uint64_t queued = 0;
  std::uint64_t done = 0;
  std::deque<Operation> pending;
  std::shared_ptr<Capture> capture;
  std::vector<std::size_t> capture_tail;  // nodes that the next one follows
};

// A graph that is being recorded, or was.
struct Capture {
  struct Node {
    std::function<bool()> progress;
    std::vector<std::size_t> after;
  };
  std::vector<Node> nodes;
  std::vector<std::shared_ptr<StreamState>> joined;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;  // that began it
  bool valid = true;
  bool open = true;
};

struct Runtime {
  std::mutex lock;  // held while operations run: one launch at a time

  StreamOrder order = StreamOrder::kLate;
  std::mt19937_64 random;
  int device_count = 1;
  int driver = CUDART_VERSION;
  cudaError_t device_failure = cudaSuccess;
  std::chrono::seconds hang_limit{60};
  HostWaits waits;
  std::uint64_t launches = 0;
  std::uint64_t graph_launches = 0;
  std::size_t graphs = 0;
  std::size_t events = 0;
  std::size_t handles = 0;

  std::vector<std::shared_ptr<StreamState>>
      streams;  // those that exist, in the order of their making; null ones too
  std::map<int, std::shared_ptr<StreamState>> null_streams;
  std::vector<std::shared_ptr<Capture>> captures;  // those that are being recorded
  std::map<const void*, int> dynamic_shared_limits;
  DeviceMemory memory;
};
Runtime& TheRuntime();

// Remembers an error for cudaGetLastError of the calling thread, and returns it.
cudaError_t Failed(cudaError_t error);

// cudaSuccess, or why no call on the current device can work.
cudaError_t DeviceError();
int CurrentDevice();

// The rest expects the lock.

std::shared_ptr<StreamState> StateOf(cudaStream_t stream);  // null for a handle that is not a stream

// Adds work to a stream: recorded when the stream is being captured, done now in eager order, queued
// otherwise.
cudaError_t Enqueue(cudaStream_t stream, std::function<void()> run);

// The same for work that may have to wait for another process. `progress` is called again and again until it
// says true, never waits itself, and may be called by any thread.
cudaError_t EnqueueWaiting(cudaStream_t stream, std::function<bool()> progress);

// Returns when the point is reached. While the next operation waits for another process, other streams run,
// as on a device, and the lock is given up now and then; when nothing moves for the hang limit, the process
// ends with a report.
void RunUntil(const Point& point);
void RunAll(int device);          // everything that is queued on a device
void CountHostWait(bool hidden);  // and, in shuffled order, lets other streams progress

// An error when the call, of the calling thread, is one that a capture in progress forbids; the capture is
// then invalid. What allocates, frees or waits is forbidden to every thread by a global capture, to the
// thread that began it by a thread-local one, to nobody by a relaxed one (CUDA Runtime API,
// cudaThreadExchangeStreamCaptureMode).
cudaError_t RefuseDuringCapture();

}  // namespace retort::cuda_on_cpu

struct CUstream_st {
  std::shared_ptr<retort::cuda_on_cpu::StreamState> state;
};

#endif  // TESTS_CUDA_ON_CPU_RUNTIME_H_
