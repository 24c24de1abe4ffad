#include "services/train/device.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace retort::train {

absl::StatusOr<TrainingDevice> OpenTrainingDevice(const DeviceRequest& request,
                                                  const std::function<void(std::string_view)>& log) {
  if (!request.compute.empty() && request.compute != "fp32" && request.compute != "bf16") {
    return absl::InvalidArgumentError(
        absl::StrCat("--compute: saw '", request.compute.substr(0, 32), "', wanted fp32 or bf16"));
  }
  const std::string library = request.library.empty() ? student::DefaultCudaLibrary() : request.library;
  TrainingDevice device;
  student::DeviceChoice& choice = device.choice;
  choice = student::ChooseDevice(request.device, library);
  if (choice.ok && choice.device != "cpu" && request.local_rank > 0 &&
      request.device.find(':') == std::string::npos) {
    choice = student::ChooseDevice(absl::StrCat("cuda:", request.local_rank), library);
  }
  if (!choice.ok) {
    return choice.malformed ? absl::InvalidArgumentError(choice.reason)
                            : absl::FailedPreconditionError(
                                  absl::StrCat("--device=", request.device, ": ", choice.reason));
  }
  if (log) log(choice.reason);
  if (choice.device == "cpu") {
    if (request.compute == "bf16") {
      return absl::InvalidArgumentError("--compute: saw bf16, wanted fp32: the CPU computes in fp32");
    }
    return device;
  }
  std::string problem;
  device.backend = student::OpenDevice(choice, {.bf16 = request.compute != "fp32"}, &problem);
  if (device.backend == nullptr) return absl::FailedPreconditionError(problem);
  if (log) log(absl::StrCat(choice.device, " computes in ", device.backend->description().compute));
  return device;
}

}  // namespace retort::train
