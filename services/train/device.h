// Where a process trains: what --device and --compute ask for, opened.
#ifndef SERVICES_TRAIN_DEVICE_H_
#define SERVICES_TRAIN_DEVICE_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "student/device/device.h"

namespace retort::train {

struct DeviceRequest {
  std::string device = "auto";  // auto, cpu, cuda, cuda:<n>
  // Inputs of matrix products on a CUDA device: fp32 or bf16; empty: bf16 there. The CPU computes in fp32.
  std::string compute;
  int local_rank = 0;   // among the processes of this machine: the number of the device when none is given
  std::string library;  // libretort_cuda.so; empty: beside this program
};

struct TrainingDevice {
  student::DeviceChoice choice;
  std::unique_ptr<student::Backend> backend;  // null: this processor, which a Trainer opens itself
};

// Chooses and opens. Says through `log` what was taken and
// why. InvalidArgument: a name or a compute type that there is not, or bf16 on the CPU. FailedPrecondition:
// CUDA was asked for and cannot be had, with the driver's reason.
absl::StatusOr<TrainingDevice> OpenTrainingDevice(const DeviceRequest& request,
                                                  const std::function<void(std::string_view)>& log);

}  // namespace retort::train

#endif  // SERVICES_TRAIN_DEVICE_H_
