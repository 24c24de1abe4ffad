// A libnvidia-ml.so that answers what a test tells it, with the C functions that the driver's has. Compiled
// three times: whole, as an old driver without sensors (FAKE_NVML_OLD), and without nvmlDeviceGetName
// (FAKE_NVML_BROKEN).
#include "tests/student/device/fake_nvml.h"

#include <cstring>

extern "C" {

FakeNvml fake_nvml = {
    0, 0, 2, "NVIDIA Fake 80GB", 61, 350'500, 7'000'000, 80'000'000'000ull, 12'000'000'000ull, 0, 0};

struct FakeMemory {
  unsigned long long total, free, used;
};

static int handles[2];

int nvmlInit_v2() {
  ++fake_nvml.inits;
  return fake_nvml.init_result;
}
int nvmlShutdown() {
  ++fake_nvml.shutdowns;
  return 0;
}
const char* nvmlErrorString(int code) {
  return code == 9   ? "Driver Not Loaded"
         : code == 6 ? "Not Found"
         : code == 3 ? "Not Supported"
                     : "Unknown Error";
}
int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = fake_nvml.devices;
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) {
  if (index >= fake_nvml.devices) return 6;
  *handle = &handles[index];
  return 0;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char* id, void** handle) {
  if (std::strcmp(id, "0000:17:00.0") != 0) return 6;
  *handle = &handles[1];
  return 0;
}
#ifndef FAKE_NVML_BROKEN
int nvmlDeviceGetName(void*, char* name, unsigned size) {
  std::strncpy(name, fake_nvml.name, size);
  return 0;
}
#endif
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) {
  *milliwatts = fake_nvml.milliwatts;
  return fake_nvml.sensor_result;
}
#ifndef FAKE_NVML_OLD
int nvmlDeviceGetTemperature(void*, int sensor, unsigned* celsius) {
  if (sensor != 0) return 2;
  *celsius = fake_nvml.celsius;
  return fake_nvml.sensor_result;
}
// Handle 1 has used a joule more than handle 0.
int nvmlDeviceGetTotalEnergyConsumption(void* handle, unsigned long long* millijoules) {
  *millijoules = fake_nvml.millijoules + (handle == &handles[1] ? 1000 : 0);
  return fake_nvml.sensor_result;
}
int nvmlDeviceGetMemoryInfo(void*, FakeMemory* memory) {
  *memory = {fake_nvml.memory_total, fake_nvml.memory_total - fake_nvml.memory_used, fake_nvml.memory_used};
  return fake_nvml.sensor_result;
}
#endif
}
