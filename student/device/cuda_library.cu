#include <cstdio>
#include <string>

#include "student/device/backend.h"
#include "student/device/cuda/cuda_backend.h"
#include "student/device/cuda_library.h"

extern "C" RetortCudaVersionFunction RetortCudaVersion;
extern "C" RetortCudaDescribeFunction RetortCudaDescribe;
extern "C" RetortCudaOpenFunction RetortCudaOpen;

extern "C" int RetortCudaVersion() {
  return retort::student::kBackendVersion;
}

extern "C" int RetortCudaDescribe(char* text, unsigned long size) {
  std::string sentence;
  const int count = retort::student::DescribeCudaDevices(&sentence);
  std::snprintf(text, size, "%s", sentence.c_str());
  return count;
}

extern "C" retort::student::Backend* RetortCudaOpen(int ordinal, int bf16, char* text, unsigned long size) {
  using retort::student::Element;
  std::string problem;
  auto backend =
      retort::student::OpenCudaBackend(ordinal, bf16 != 0 ? Element::kBf16 : Element::kF32, &problem);
  if (backend == nullptr) std::snprintf(text, size, "%s", problem.c_str());
  return backend.release();
}
