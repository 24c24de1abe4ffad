#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

#include "tests/student/device_ops/table.h"

// device_ops_table [--only=rows|norms|router|attention|head|optimizer]
// 0: all within bounds. 1: not. 77: no device, nothing was tested.
int main(int argc, char** argv) {
  using namespace retort::student;
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    std::printf("skipped: %s\n", error == cudaSuccess ? "no CUDA device" : cudaGetErrorString(error));
    return 77;
  }
  cudaDeviceProp properties = {};
  RequireCuda(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  std::printf("device: %s\n", properties.name);
  const struct {
    const char* name;
    void (*run)(Table*);
  } areas[] = {{"rows", RunRowCases},      {"norms", RunNormCases},
               {"router", RunRouterCases}, {"attention", RunAttentionCases},
               {"head", RunHeadCases},     {"optimizer", RunOptimizerCases}};
  Table table;
  bool any = false;
  for (const auto& area : areas) {
    if (argc > 1 && std::strcmp(argv[1], (std::string("--only=") + area.name).c_str()) != 0) continue;
    area.run(&table);
    any = true;
  }
  if (!any) {
    std::fprintf(stderr, "no such area: %s\n", argv[1]);
    return 1;
  }
  return table.Print() == 0 ? 0 : 1;
}
