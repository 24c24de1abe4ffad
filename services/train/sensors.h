// Finds what this machine can measure with, says once what it cannot, and keeps it open while a run lasts.
#ifndef SERVICES_TRAIN_SENSORS_H_
#define SERVICES_TRAIN_SENSORS_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "services/train/report.h"

namespace retort::train {

struct SensorOptions {
  // PCI bus id of the device that trains, as the backend gives it; empty: the CPU. A number would not do:
  // CUDA and NVML count in orders of their own.
  std::string cuda_device;
  std::string cuda_name;       // as the backend gives it
  bool cuda_bf16 = false;      // inputs of matrix products: the peak that is known is that of bf16
  int threads = 0;             // of the CPU; 0 means all cores
  int devices = 1;             // that work at once, one per process of the run
  bool one_machine = true;     // all of them are here: otherwise no counter of this machine covers them
  std::string declared_watts;  // of one device, as the operator wrote it; empty: not declared
  double peak_seconds = 0.3;   // how long the peak of a CPU may be measured; 0: it stays unknown
  // Where to look; tests have their own.
  std::string powercap_folder = student::kPowercapFolder;
  std::string nvml_library;
};

class Sensors {
 public:
  // A counter is preferred to what is declared; each decision is said through `log` once. InvalidArgument
  // when declared_watts is no decimal above 0.
  static absl::StatusOr<std::unique_ptr<Sensors>> Open(const SensorOptions& options,
                                                       const std::function<void(std::string_view)>& log);

  // For RunOptions; refers to this object.
  const Instruments& instruments() const { return instruments_; }
  // For RunOptions: canonical, and only when what is declared is what counts.
  const std::string& declared_watts() const { return declared_watts_; }

 private:
  Sensors() = default;
  void OpenCpu(const SensorOptions& options, const std::function<void(std::string_view)>& log);
  void OpenCuda(const SensorOptions& options, const std::function<void(std::string_view)>& log);

  std::unique_ptr<student::Nvml> nvml_;
  std::unique_ptr<student::EnergyMeter> energy_;
  Instruments instruments_ = PlainInstruments();
  std::string declared_watts_;
};

}  // namespace retort::train

#endif  // SERVICES_TRAIN_SENSORS_H_
