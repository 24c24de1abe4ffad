// A library of another build, for device_test: its version is nobody's.
#include "student/device/cuda_library.h"

extern "C" RetortCudaVersionFunction RetortCudaVersion;
extern "C" int RetortCudaVersion() {
  return 999999;
}
