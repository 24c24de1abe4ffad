#include "student/device/energy.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

namespace retort::student {
namespace {

constexpr std::size_t kZonesMax = 64;  // sockets with their memory; more is no powercap folder

struct Zone {
  std::string counter;  // path of energy_uj
  std::uint64_t range = 0;
  std::uint64_t last = 0;
};

// One unsigned number alone in a file.
std::optional<std::uint64_t> ReadNumber(const std::string& path) {
  std::ifstream in(path);
  std::uint64_t value = 0;
  if (!(in >> value)) return std::nullopt;
  return value;
}

std::string ReadWord(const std::string& path) {
  std::ifstream in(path);
  std::string word;
  in >> word;
  return word;
}

// intel-rapl:0 and intel-rapl:0:1; not intel-rapl-mmio:0, which shows the same package again.
bool IsZone(const std::string& name) {
  return name.starts_with("intel-rapl:");
}

class RaplMeter final : public EnergyMeter {
 public:
  explicit RaplMeter(std::vector<Zone> zones) : zones_(std::move(zones)) {}
  std::string source() const override { return "rapl"; }

  std::optional<std::uint64_t> Read() override {
    for (Zone& zone : zones_) {
      const auto now = ReadNumber(zone.counter);
      if (!now || *now > zone.range) lost_ = true;
      if (lost_) return std::nullopt;
      total_ += *now >= zone.last ? *now - zone.last : zone.range - zone.last + *now;
      zone.last = *now;
    }
    return total_;
  }

 private:
  std::vector<Zone> zones_;
  std::uint64_t total_ = 0;
  bool lost_ = false;
};

class NvmlMeter final : public EnergyMeter {
 public:
  NvmlMeter(const Nvml& nvml, std::vector<NvmlDevice> devices, std::vector<std::uint64_t> first)
      : nvml_(nvml), devices_(std::move(devices)), first_(std::move(first)) {}
  std::string source() const override { return "nvml"; }

  std::optional<std::uint64_t> Read() override {
    std::uint64_t millijoules = 0;
    for (std::size_t i = 0; i < devices_.size() && !lost_; ++i) {
      const auto now = nvml_.Read(devices_[i]).energy_millijoules;
      // A counter below its first value was reset together with the device.
      lost_ = !now || *now < first_[i];
      if (!lost_) millijoules += *now - first_[i];
    }
    if (lost_) return std::nullopt;
    return millijoules * 1000;
  }

 private:
  const Nvml& nvml_;
  const std::vector<NvmlDevice> devices_;
  const std::vector<std::uint64_t> first_;  // millijoules when the meter was made
  bool lost_ = false;
};

class DeclaredMeter final : public EnergyMeter {
 public:
  DeclaredMeter(std::uint64_t milliwatts, std::function<std::uint64_t()> now_us)
      : milliwatts_(milliwatts), now_us_(std::move(now_us)), begun_(now_us_()) {}
  std::string source() const override { return "declared"; }

  std::optional<std::uint64_t> Read() override {
    // Whole seconds apart from the rest, so that years at megawatts do not overflow.
    const std::uint64_t elapsed = now_us_() - begun_;
    return elapsed / 1'000'000 * milliwatts_ * 1000 + elapsed % 1'000'000 * milliwatts_ / 1000;
  }

 private:
  const std::uint64_t milliwatts_;
  const std::function<std::uint64_t()> now_us_;
  const std::uint64_t begun_;
};

}  // namespace

std::unique_ptr<EnergyMeter> MakeRaplMeter(const std::string& folder, std::string* reason) {
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (IsZone(at->path().filename().string())) names.push_back(at->path().filename().string());
    if (names.size() > kZonesMax) break;
  }
  std::sort(names.begin(), names.end());
  std::vector<Zone> zones;
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name;
    const std::string what = ReadWord(path + "/name");
    // core and uncore are parts of their package; psys is the whole machine and would count packages twice.
    if (!what.starts_with("package") && what != "dram") continue;
    Zone zone{path + "/energy_uj", 0, 0};
    const auto range = ReadNumber(path + "/max_energy_range_uj");
    errno = 0;
    const auto now = ReadNumber(zone.counter);
    if (!range || !now || *range == 0 || *now > *range) {
      *reason =
          zone.counter + ": " + (!now && errno != 0 ? std::strerror(errno) : "is no counter below its range");
      return nullptr;
    }
    zone.range = *range;
    zone.last = *now;
    zones.push_back(std::move(zone));
  }
  if (zones.empty() || names.size() > kZonesMax) {
    *reason = folder + ": has no zone of a processor package";
    return nullptr;
  }
  return std::make_unique<RaplMeter>(std::move(zones));
}

std::unique_ptr<EnergyMeter> MakeNvmlMeter(const Nvml& nvml, std::vector<NvmlDevice> devices,
                                           std::string* reason) {
  assert(!devices.empty());
  std::vector<std::uint64_t> first;
  for (const NvmlDevice& device : devices) {
    const auto now = nvml.Read(device).energy_millijoules;
    if (!now) {
      *reason = device.name + ": does not count energy";
      return nullptr;
    }
    first.push_back(*now);
  }
  return std::make_unique<NvmlMeter>(nvml, std::move(devices), std::move(first));
}

std::unique_ptr<EnergyMeter> MakeDeclaredMeter(std::uint64_t milliwatts,
                                               std::function<std::uint64_t()> now_us) {
  return std::make_unique<DeclaredMeter>(milliwatts, std::move(now_us));
}

}  // namespace retort::student
