// What the fake management library answers; the test finds it with dlsym under the name fake_nvml.
#ifndef TESTS_STUDENT_DEVICE_FAKE_NVML_H_
#define TESTS_STUDENT_DEVICE_FAKE_NVML_H_

struct FakeNvml {
  int init_result;    // of nvmlInit_v2
  int sensor_result;  // of every query of a device's state
  unsigned devices;
  const char* name;
  unsigned celsius;
  unsigned milliwatts;
  unsigned long long millijoules;
  unsigned long long memory_total, memory_used;
  int inits, shutdowns;  // calls so far
};

#endif  // TESTS_STUDENT_DEVICE_FAKE_NVML_H_
