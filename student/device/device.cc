#include "student/device/device.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>

#include "student/device/cpu_backend.h"
#include "student/device/cuda_library.h"

namespace retort::student {
namespace {

struct CudaLibrary {
  RetortCudaDescribeFunction* describe = nullptr;
  RetortCudaOpenFunction* open = nullptr;
  std::string problem;  // empty when it is there
};

// The library stays loaded: unloading the CUDA runtime in a running process is not supported by it.
CudaLibrary Load(const std::string& path) {
  CudaLibrary library;
  if (access(path.c_str(), F_OK) != 0) {
    library.problem = "this build has no CUDA library (wanted " + path + "; the cuda preset makes it)";
    return library;
  }
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    library.problem = "the CUDA library does not load: " + std::string(dlerror());
    return library;
  }
  auto* const version = reinterpret_cast<RetortCudaVersionFunction*>(dlsym(handle, "RetortCudaVersion"));
  library.describe = reinterpret_cast<RetortCudaDescribeFunction*>(dlsym(handle, "RetortCudaDescribe"));
  library.open = reinterpret_cast<RetortCudaOpenFunction*>(dlsym(handle, "RetortCudaOpen"));
  if (version == nullptr || version() != kBackendVersion || library.describe == nullptr ||
      library.open == nullptr) {
    library.problem = path + " is of version " + (version == nullptr ? "none" : std::to_string(version())) +
                      ", wanted " + std::to_string(kBackendVersion) + ": it is of another build";
  }
  return library;
}

// The number behind "cuda:", 0 for "cuda", -1 for anything else.
int OrdinalOf(std::string_view requested) {
  if (requested == "cuda") return 0;
  if (requested.substr(0, 5) != "cuda:" || requested.size() < 6 || requested.size() > 8) return -1;
  const std::string_view digits = requested.substr(5);
  if (!std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) return -1;
  return std::stoi(std::string(digits));
}

}  // namespace

std::string DescribeCudaDevices(const std::string& path, int* count) {
  *count = 0;
  const CudaLibrary library = Load(path);
  if (!library.problem.empty()) return "no CUDA device: " + library.problem;
  char text[512] = {};
  *count = library.describe(text, sizeof(text));
  return text;
}

DeviceChoice ChooseDevice(std::string_view requested, const std::string& library) {
  if (requested == "cpu") return {true, "cpu", "cpu: as asked", ""};
  const bool any = requested == "auto";
  const int ordinal = any ? 0 : OrdinalOf(requested);
  if (ordinal < 0) {
    return {
        false, "",
        "--device: saw '" + std::string(requested.substr(0, 32)) + "', wanted auto, cpu, cuda or cuda:<n>",
        "", true};
  }
  int count = 0;
  const std::string seen = DescribeCudaDevices(library, &count);
  if (count == 0)
    return any ? DeviceChoice{true, "cpu", "cpu: " + seen, ""} : DeviceChoice{false, "", seen, ""};
  const std::string device = "cuda:" + std::to_string(ordinal);
  if (ordinal >= count) {
    return {false, "",
            "--device: saw '" + device + "', wanted a number below " + std::to_string(count) + ": " + seen,
            ""};
  }
  return {true, device, device + ": " + (any ? "" : "as asked, ") + seen, library};
}

std::unique_ptr<Backend> OpenDevice(const DeviceChoice& choice, const DeviceOptions& options,
                                    std::string* problem) {
  assert(choice.ok);
  if (choice.device == "cpu") {
    if (options.bf16) {
      *problem = "the CPU computes in fp32; saw bf16";
      return nullptr;
    }
    return MakeCpuBackend(*options.pool, options.isa);
  }
  const CudaLibrary library = Load(choice.library);
  if (!library.problem.empty()) {
    *problem = library.problem;
    return nullptr;
  }
  char text[1024] = {};
  std::unique_ptr<Backend> backend(
      library.open(OrdinalOf(choice.device), options.bf16 ? 1 : 0, text, sizeof(text)));
  if (backend == nullptr) *problem = text;
  return backend;
}

std::string DefaultCudaLibrary() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
  std::string program(path, length > 0 ? static_cast<size_t>(length) : 0);
  return program.substr(0, program.rfind('/') + 1) + "libretort_cuda.so";
}

}  // namespace retort::student
