// Which device a training run uses, and why.
//
// The CUDA side is libretort_cuda.so (built by the `cuda` preset), loaded at run time, so that no program
// needs a CUDA library to start. It answers what devices the driver shows. The training operators exist for
// the CPU; a request for CUDA is refused with the reason, never answered by quietly computing elsewhere.
#ifndef STUDENT_DEVICE_DEVICE_H_
#define STUDENT_DEVICE_DEVICE_H_

#include <string>
#include <string_view>

namespace retort::student {

struct DeviceChoice {
  bool ok = false;
  std::string device;  // "cpu" when ok
  std::string reason;  // why it was taken, or why the request is refused; one sentence for people
};

// What the driver says about CUDA devices, in one sentence: "no CUDA device: …", or their names.
// `library` is the path of libretort_cuda.so. Safe on any thread.
std::string DescribeCudaDevices(const std::string& library, int* count);

// Resolves "auto", "cpu", "cuda" or "cuda:<n>". auto takes the CPU and says what it saw of CUDA. cuda is
// refused: without a device with the driver's reason, with one because the operators are not there. Anything
// else is refused by naming it.
DeviceChoice ChooseDevice(std::string_view requested, const std::string& library);

// libretort_cuda.so beside the running program.
std::string DefaultCudaLibrary();

}  // namespace retort::student

#endif  // STUDENT_DEVICE_DEVICE_H_
