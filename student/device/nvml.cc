#include "student/device/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <type_traits>
#include <utility>

namespace retort::student {
namespace {

constexpr char kDriverLibrary[] = "libnvidia-ml.so.1";
constexpr unsigned kNameBytes = 96;  // NVML_DEVICE_NAME_V2_BUFFER_SIZE
constexpr int kSuccess = 0;
constexpr int kTemperatureOfDie = 0;  // NVML_TEMPERATURE_GPU

// nvmlMemory_t.
struct Memory {
  unsigned long long total = 0, free = 0, used = 0;
};

std::string Printable(std::string text) {
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return text;
}

}  // namespace

// NVML returns an int-sized enum from every function; 0 is success.
struct Nvml::Functions {
  void* library = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*device_count)(unsigned*) = nullptr;
  int (*by_index)(unsigned, void**) = nullptr;
  int (*by_bus_id)(const char*, void**) = nullptr;
  int (*name)(void*, char*, unsigned) = nullptr;
  // A driver may lack these; then what they would tell is absent.
  int (*temperature)(void*, int, unsigned*) = nullptr;
  int (*power)(void*, unsigned*) = nullptr;
  int (*energy)(void*, unsigned long long*) = nullptr;
  int (*memory)(void*, Memory*) = nullptr;

  ~Functions() {
    if (library != nullptr) dlclose(library);
  }

  template <typename Function>
  bool Load(const char* symbol, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, symbol));
    return function != nullptr;
  }

  // The first function that every driver has and this library lacks; null when none.
  const char* LoadAll() {
    if (!Load("nvmlInit_v2", init)) return "nvmlInit_v2";
    if (!Load("nvmlShutdown", shutdown)) return "nvmlShutdown";
    if (!Load("nvmlErrorString", error_string)) return "nvmlErrorString";
    if (!Load("nvmlDeviceGetCount_v2", device_count)) return "nvmlDeviceGetCount_v2";
    if (!Load("nvmlDeviceGetHandleByIndex_v2", by_index)) return "nvmlDeviceGetHandleByIndex_v2";
    if (!Load("nvmlDeviceGetHandleByPciBusId_v2", by_bus_id)) return "nvmlDeviceGetHandleByPciBusId_v2";
    if (!Load("nvmlDeviceGetName", name)) return "nvmlDeviceGetName";
    Load("nvmlDeviceGetTemperature", temperature);
    Load("nvmlDeviceGetPowerUsage", power);
    Load("nvmlDeviceGetTotalEnergyConsumption", energy);
    Load("nvmlDeviceGetMemoryInfo", memory);
    return nullptr;
  }

  std::string ErrorOf(int code) const {
    const char* text = error_string(code);
    return "NVML error " + std::to_string(code) + ": " + (text == nullptr ? "unknown" : Printable(text));
  }
};

std::unique_ptr<Nvml> Nvml::Open(const std::string& library, std::string* reason) {
  const std::string path = library.empty() ? kDriverLibrary : library;
  auto functions = std::make_unique<Functions>();
  functions->library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (functions->library == nullptr) {
    const char* text = dlerror();
    *reason = text == nullptr ? path + ": cannot be loaded" : text;
    return nullptr;
  }
  if (const char* missing = functions->LoadAll(); missing != nullptr) {
    *reason = path + ": has no function " + missing + "; wanted the library of driver 418 or newer";
    return nullptr;
  }
  if (const int code = functions->init(); code != kSuccess) {
    *reason = path + ": nvmlInit_v2: " + functions->ErrorOf(code);
    return nullptr;
  }
  return std::unique_ptr<Nvml>(new Nvml(std::move(functions)));
}

Nvml::Nvml(std::unique_ptr<Functions> functions) : functions_(std::move(functions)) {}

Nvml::~Nvml() {
  functions_->shutdown();
}

int Nvml::device_count() const {
  unsigned count = 0;
  return functions_->device_count(&count) == kSuccess ? static_cast<int>(count) : 0;
}

std::optional<NvmlDevice> Nvml::Find(const std::string& id, std::string* reason) const {
  const bool is_index = !id.empty() && id.size() <= 4 &&
                        std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
  NvmlDevice device;
  const int code =
      is_index
          ? functions_->by_index(static_cast<unsigned>(std::strtoul(id.c_str(), nullptr, 10)), &device.handle)
          : functions_->by_bus_id(id.c_str(), &device.handle);
  if (code != kSuccess) {
    *reason = "device " + Printable(id.substr(0, 64)) + ": " + functions_->ErrorOf(code);
    return std::nullopt;
  }
  char name[kNameBytes + 1] = {};
  if (functions_->name(device.handle, name, kNameBytes) == kSuccess) device.name = Printable(name);
  if (device.name.empty()) device.name = "NVIDIA device";
  return device;
}

NvmlReading Nvml::Read(const NvmlDevice& device) const {
  NvmlReading reading;
  unsigned number = 0;
  if (functions_->temperature != nullptr &&
      functions_->temperature(device.handle, kTemperatureOfDie, &number) == kSuccess) {
    reading.celsius = number;
  }
  if (functions_->power != nullptr && functions_->power(device.handle, &number) == kSuccess) {
    reading.watts = number / 1000.0;
  }
  unsigned long long millijoules = 0;
  if (functions_->energy != nullptr && functions_->energy(device.handle, &millijoules) == kSuccess) {
    reading.energy_millijoules = millijoules;
  }
  Memory memory;
  if (functions_->memory != nullptr && functions_->memory(device.handle, &memory) == kSuccess) {
    reading.memory_used_bytes = memory.used;
    reading.memory_total_bytes = memory.total;
  }
  return reading;
}

}  // namespace retort::student
