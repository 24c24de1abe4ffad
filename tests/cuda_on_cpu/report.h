// How reports name places in kernels.
#ifndef TESTS_CUDA_ON_CPU_REPORT_H_
#define TESTS_CUDA_ON_CPU_REPORT_H_

#include <string>

#include "cuda_on_cpu/thread.h"

namespace retort::cuda_on_cpu {

inline std::string Place(Site site) {  // "rope.cu:31"
  const std::string file = site.file == nullptr ? "?" : site.file;
  const std::size_t slash = file.rfind('/');
  return (slash == std::string::npos ? file : file.substr(slash + 1)) + ":" + std::to_string(site.line);
}

inline std::string Triple(uint3 v) {
  return "(" + std::to_string(v.x) + "," + std::to_string(v.y) + "," + std::to_string(v.z) + ")";
}

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_REPORT_H_
