#include <cuda_runtime.h>

#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "tests/student/device_ops/table.h"

// device_ops_table [--quick] [--only=rows|norms|router|attention|head|optimizer]
// 0: all within bounds. 1: not. 77: no device, nothing was tested.
int main(int argc, char** argv) {
  using namespace retort::student;
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device: %s (%d)\n", cudaGetErrorString(error), static_cast<int>(error));
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
  bool quick = false;
  std::string only;
  for (const std::string_view argument : std::span(argv, argc).subspan(1)) {
    if (argument == "--quick") quick = true;
    if (argument.starts_with("--only=")) only = argument.substr(7);
  }
  Table table(quick);
  bool any = false;
  for (const auto& area : areas) {
    if (!only.empty() && only != area.name) continue;
    area.run(&table);
    any = true;
  }
  if (!any) {
    std::fprintf(stderr, "no such area: %s\n", only.c_str());
    return 1;
  }
  return table.Print() == 0 ? 0 : 1;
}
