// How much energy a run has used, and who says so. A figure always carries its source; what nothing measures
// is said to be not measured and is never guessed.
//
//   none      nothing measures and nothing was declared
//   rapl      counters of the processor packages and their memory (Linux powercap): of the whole machine,
//   other
//             processes included
//   nvml      counter of the device's board (student/device/nvml.h)
//   declared  watts that the operator states, times the time; no measurement
//
// A meter counts from the moment it was made. Not thread-safe.
#ifndef STUDENT_DEVICE_ENERGY_H_
#define STUDENT_DEVICE_ENERGY_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "student/device/nvml.h"

namespace retort::student {

class EnergyMeter {
 public:
  virtual ~EnergyMeter() = default;
  // rapl, nvml or declared.
  virtual std::string source() const = 0;
  // Microjoules since the meter was made. Never falls. Nothing once a counter could not be read: what has
  // been missed since then is unknown, so the meter stays silent for good.
  virtual std::optional<std::uint64_t> Read() = 0;
};

// Where Linux shows its power zones.
inline constexpr char kPowercapFolder[] = "/sys/class/powercap";

// Sums the zones package-* and dram of `folder`. Counters wrap around at max_energy_range_uj; Read must be
// called more often than that (some minutes at full load). Null when there is no such zone or one cannot be
// read (recent kernels let only the superuser); *reason then has one sentence with the path.
std::unique_ptr<EnergyMeter> MakeRaplMeter(const std::string& folder, std::string* reason);

// Counters of boards. Null when one of them has none (before Volta), with the reason. `nvml` must outlive it.
std::unique_ptr<EnergyMeter> MakeNvmlMeter(const Nvml& nvml, std::vector<NvmlDevice> devices,
                                           std::string* reason);

// `milliwatts` times the time of `now` (microseconds of a clock that never goes back), rounded down to a
// microjoule.
std::unique_ptr<EnergyMeter> MakeDeclaredMeter(std::uint64_t milliwatts,
                                               std::function<std::uint64_t()> now_us);

}  // namespace retort::student

#endif  // STUDENT_DEVICE_ENERGY_H_
