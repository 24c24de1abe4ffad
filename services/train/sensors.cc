#include "services/train/sensors.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "ledger/fixed_decimal.h"
#include "services/train/peak.h"
#include "student/threads/thread_pool.h"

namespace retort::train {
namespace {

constexpr int64_t kNanosPerMilli = 1'000'000;

uint64_t SteadyMicroseconds() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sensors>> Sensors::Open(const SensorOptions& options,
                                                       const std::function<void(std::string_view)>& log) {
  std::unique_ptr<Sensors> sensors(new Sensors());
  int64_t milliwatts = 0;
  std::string watts_text;
  if (!options.declared_watts.empty()) {
    const auto watts = ledger::FixedDecimal::Parse(options.declared_watts);
    if (!watts.ok() || watts->nanos() < kNanosPerMilli) {
      return absl::InvalidArgumentError("--declared-watts \"" + options.declared_watts.substr(0, 32) +
                                        "\"; wanted a decimal number from 0.001");
    }
    milliwatts = watts->nanos() / kNanosPerMilli;
    watts_text = watts->ToString();
  }
  sensors->instruments_.devices = options.devices;
  if (options.cuda_device.empty()) {
    sensors->OpenCpu(options, log);
  } else {
    sensors->OpenCuda(options, log);
  }
  if (sensors->energy_ == nullptr && milliwatts > 0) {
    sensors->energy_ = student::MakeDeclaredMeter(
        static_cast<uint64_t>(milliwatts) * static_cast<uint64_t>(options.devices), SteadyMicroseconds);
    sensors->declared_watts_ = watts_text;
    log("energy is taken from the " + watts_text + " W that are declared for a device");
  }
  if (sensors->energy_ == nullptr) log("energy is not measured");
  sensors->instruments_.energy = sensors->energy_.get();
  return sensors;
}

void Sensors::OpenCpu(const SensorOptions& options, const std::function<void(std::string_view)>& log) {
  const int threads = options.threads > 0 ? options.threads : student::ThreadPool::DefaultThreads();
  instruments_.device = "cpu, " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
  if (options.peak_seconds > 0) {
    // Processes of one machine measure at the same time, so each sees its share.
    instruments_.peak_flops_per_second = MeasureCpuPeak(threads, options.peak_seconds) * options.devices;
  }
  std::string reason = "other machines take part, whose energy this one does not count";
  if (options.one_machine) energy_ = student::MakeRaplMeter(options.powercap_folder, &reason);
  if (energy_ == nullptr) log("no energy counter: " + reason);
}

void Sensors::OpenCuda(const SensorOptions& options, const std::function<void(std::string_view)>& log) {
  instruments_.device = options.cuda_name.empty() ? "cuda:" + options.cuda_device : options.cuda_name;
  const auto peak = options.cuda_bf16 ? KnownBf16Peak(instruments_.device) : std::nullopt;
  if (peak) {
    instruments_.peak_flops_per_second = *peak * options.devices;
  } else {
    log("no peak is known for " + instruments_.device + (options.cuda_bf16 ? "" : " in fp32") + ": no MFU");
  }
  std::string reason;
  nvml_ = student::Nvml::Open(options.nvml_library, &reason);
  const auto device = nvml_ == nullptr ? std::nullopt : nvml_->Find(options.cuda_device, &reason);
  if (!device) {
    log("no temperature, power and energy of the device: " + reason);
    return;
  }
  instruments_.sensors = [nvml = nvml_.get(), found = *device] { return nvml->Read(found); };
  if (options.devices > 1) {
    log("no energy counter: the boards of the other processes are not read here");
    return;
  }
  energy_ = student::MakeNvmlMeter(*nvml_, {*device}, &reason);
  if (energy_ == nullptr) log("no energy counter: " + reason);
}

}  // namespace retort::train
