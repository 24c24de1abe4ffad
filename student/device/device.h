// Which device a training run uses, and why.
//
// The CUDA side is libretort_cuda.so (built by the `cuda` preset), loaded at run time, so that no program
// needs a CUDA library to start. A request for CUDA is answered by CUDA or refused with the reason, never by
// quietly computing elsewhere; `auto` may take the CPU and says so.
//
//   const DeviceChoice choice = ChooseDevice("auto", DefaultCudaLibrary());
//   if (!choice.ok) …choice.reason…
//   std::unique_ptr<Backend> backend = OpenDevice(choice, {.pool = &pool}, &problem);
//
// Safe on any thread.
#ifndef STUDENT_DEVICE_DEVICE_H_
#define STUDENT_DEVICE_DEVICE_H_

#include <memory>
#include <string>
#include <string_view>

#include "student/device/backend.h"
#include "student/tensor/isa.h"
#include "student/threads/thread_pool.h"

namespace retort::student {

struct DeviceChoice {
  bool ok = false;
  std::string device;      // "cpu" or "cuda:<n>" when ok
  std::string reason;      // why it was taken, or why the request is refused; one sentence for people
  std::string library;     // of a CUDA device
  bool malformed = false;  // refused because the request is none of the words that are known
};

// What the driver says about CUDA devices, in one sentence: "no CUDA device: …" when *count is 0, or their
// names. `library` is the path of libretort_cuda.so.
std::string DescribeCudaDevices(const std::string& library, int* count);

// Resolves "auto", "cpu", "cuda" (the first device) or "cuda:<n>". auto takes the first CUDA device, or the
// CPU when there is none, and says why. cuda is refused when the library is missing or of another version,
// the driver is missing or too old (35), there is no device (100), or none of that number. Anything else is
// refused by naming it.
DeviceChoice ChooseDevice(std::string_view requested, const std::string& library);

struct DeviceOptions {
  ThreadPool* pool = nullptr;  // of the CPU; outlives the backend
  Isa isa = BestIsa();         // of the CPU
  bool bf16 = false;           // compute type of a CUDA device; the CPU computes in fp32
};

// Opens a device that was chosen (choice.ok). Null with *problem, one sentence, when the device does not
// start: too old for our kernels, no memory for cuBLAS, cuBLAS does not start; or bf16 is asked of the CPU.
std::unique_ptr<Backend> OpenDevice(const DeviceChoice& choice, const DeviceOptions& options,
                                    std::string* problem);

// libretort_cuda.so beside the running program.
std::string DefaultCudaLibrary();

}  // namespace retort::student

#endif  // STUDENT_DEVICE_DEVICE_H_
