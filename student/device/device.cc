#include "student/device/device.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>

#include "student/device/cuda_library.h"

namespace retort::student {
namespace {

bool IsCudaRequest(std::string_view requested) {
  if (requested == "cuda") return true;
  if (requested.substr(0, 5) != "cuda:" || requested.size() < 6 || requested.size() > 8) return false;
  return std::all_of(requested.begin() + 5, requested.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::string DescribeCudaDevices(const std::string& library, int* count) {
  *count = 0;
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return "no CUDA device: this build has no CUDA library (the cuda preset makes it)";
  // The library stays loaded: unloading the CUDA runtime in a running process is not supported by it.
  auto* probe = reinterpret_cast<RetortCudaProbe*>(dlsym(handle, "RetortCudaProbeDevices"));
  if (probe == nullptr) return "no CUDA device: " + library + " is not of this version";
  char text[512] = {};
  *count = probe(text, sizeof(text));
  return text;
}

DeviceChoice ChooseDevice(std::string_view requested, const std::string& library) {
  if (requested == "cpu") return {true, "cpu", "cpu: as asked"};
  int count = 0;
  if (requested == "auto") {
    const std::string seen = DescribeCudaDevices(library, &count);
    return {true, "cpu",
            "cpu: " + (count == 0 ? seen : "the training operators are written for the CPU; seen: " + seen)};
  }
  if (IsCudaRequest(requested)) {
    const std::string seen = DescribeCudaDevices(library, &count);
    if (count == 0) return {false, "", seen};
    return {false, "",
            "the training operators are written for the CPU; use --device=cpu (seen: " + seen + ")"};
  }
  return {false, "",
          "--device: saw '" + std::string(requested.substr(0, 32)) + "', wanted auto, cpu, cuda or cuda:<n>"};
}

std::string DefaultCudaLibrary() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
  std::string program(path, length > 0 ? static_cast<size_t>(length) : 0);
  return program.substr(0, program.rfind('/') + 1) + "libretort_cuda.so";
}

}  // namespace retort::student
