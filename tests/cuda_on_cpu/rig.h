// What a test may ask of the CUDA runtime on the CPU beyond NVIDIA's functions: how late streams run, how
// many devices there are, what was left behind.
//
// Any thread may call these; they take effect for what is queued afterwards. One launch runs at a time in a
// process.
#ifndef TESTS_CUDA_ON_CPU_RIG_H_
#define TESTS_CUDA_ON_CPU_RIG_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace retort::cuda_on_cpu {

// When work given to a stream is done.
enum class StreamOrder {
  // As late as the program allows: only what a synchronisation, through streams and events, waits for; among
  // several
  // streams the youngest first. A missing event shows as wrong data, and so does a host that reads too early
  // or
  // overwrites a source too early. The default.
  kLate,
  // At the call. What a program that never synchronises would see on an idle device.
  kEager,
  // At each synchronisation a random run of the other streams' work besides: see SetStreamOrder's seed.
  kShuffled,
};
void SetStreamOrder(StreamOrder order, std::uint64_t seed = 0);
StreamOrder GetStreamOrder();

// What the driver shows: 0 devices give cudaErrorNoDevice; kNoDriver gives cudaErrorInsufficientDriver
// everywhere. At the start there is one device, with 4 GiB. Devices that hold allocations cannot be removed
// (aborts).
inline constexpr int kNoDriver = -1;
void SetDevices(int count);
// The CUDA release that the driver knows, as 12040 for 12.4; at the start that of the toolkit. An older one
// gives cudaErrorInsufficientDriver everywhere.
void SetDriver(int release);
void SetDeviceMemory(std::size_t bytes);  // of each device; for allocations from now on

// From now on every call on the current device fails with this error, as after the loss of a device; 0 ends
// it.
void FailDevice(int cuda_error);

// How long the host may wait for a stream that needs another process before the process ends with a report: a
// device would wait for ever. 60 at the start.
void SetHangLimit(int seconds);

// How often the host waited for a device: synchronisations asked for, and copies to or from pageable memory,
// which wait by themselves.
struct HostWaits {
  std::uint64_t asked = 0;
  std::uint64_t hidden = 0;
};
HostWaits CountHostWaits();

// What exists now. A test takes the counts before and after.
struct Objects {
  std::size_t device_allocations = 0;
  std::size_t device_bytes = 0;
  std::size_t host_allocations = 0;
  std::size_t streams = 0;
  std::size_t events = 0;
  std::size_t graphs = 0;   // graphs and executable graphs
  std::size_t handles = 0;  // cuBLAS, cuBLASLt and NCCL objects
  friend bool operator==(const Objects&, const Objects&) = default;
};
Objects CountObjects();
std::string Describe(const Objects& objects);

// Launches of kernels since the start of the process, those into a capture among them and those of a graph
// not, and of graphs: for tests that say what a step costs.
std::uint64_t CountLaunches();
std::uint64_t CountGraphLaunches();

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_RIG_H_
