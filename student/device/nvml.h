// What NVIDIA's management library tells about a device while it works: temperature, power, energy, memory.
//
// libnvidia-ml.so.1 is part of the driver and is loaded with dlopen, so that no program needs it to start;
// where it is missing, Open says so once and the worker reports without these numbers. Only functions and
// types of NVML's C interface that have kept their form since driver 418 are used (NVML API reference guide,
// "Device Queries"). Numbers that a device or a driver does not have are absent, never zero.
//
//   std::string reason;
//   std::unique_ptr<Nvml> nvml = Nvml::Open("", &reason);
//   if (nvml == nullptr) { /* reason: "libnvidia-ml.so.1: cannot open shared object file ..." */ }
//   std::optional<NvmlDevice> device = nvml->Find("00000000:17:00.0", &reason);
//   NvmlReading now = nvml->Read(*device);
//
// NVML is safe on several threads, and so is this once opened.
#ifndef STUDENT_DEVICE_NVML_H_
#define STUDENT_DEVICE_NVML_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace retort::student {

// A device of an open Nvml; valid as long as that lives.
struct NvmlDevice {
  void* handle = nullptr;
  std::string name;  // "NVIDIA H100 80GB HBM3"; bytes that are not printable ASCII are '?'
};

struct NvmlReading {
  std::optional<double> celsius;                    // of the die
  std::optional<double> watts;                      // drawn now by the whole board
  std::optional<std::uint64_t> energy_millijoules;  // since the driver was loaded; Volta and newer
  std::optional<std::uint64_t> memory_used_bytes, memory_total_bytes;
};

class Nvml {
 public:
  // Loads `library` (empty: libnvidia-ml.so.1) and initialises it. Null when that is not possible; then
  // *reason has one sentence: what the loader says, the function that the library lacks, or NVML's own error.
  static std::unique_ptr<Nvml> Open(const std::string& library, std::string* reason);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  // How many devices the driver shows; CUDA_VISIBLE_DEVICES does not change this. 0 when it cannot say.
  int device_count() const;

  // The device with this PCI bus id, as cudaDeviceGetPCIBusId writes it, or with this index when the id is
  // all digits. Nothing when there is none; *reason then has NVML's error.
  std::optional<NvmlDevice> Find(const std::string& id, std::string* reason) const;

  // One look at the sensors, a few hundred microseconds. What fails is absent.
  NvmlReading Read(const NvmlDevice& device) const;

 private:
  struct Functions;
  explicit Nvml(std::unique_ptr<Functions> functions);
  std::unique_ptr<Functions> functions_;
};

}  // namespace retort::student

#endif  // STUDENT_DEVICE_NVML_H_
