#include "tests/cuda_on_cpu/shared_memory.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/cuda_on_cpu/grid.h"

namespace retort::cuda_on_cpu {
namespace {
void* of_running_block = nullptr;
}

SharedMemoryOfBlock::SharedMemoryOfBlock(std::size_t bytes) {
  if (bytes > 0) {
    memory_ = std::malloc(bytes);  // aligned to 16
    if (memory_ == nullptr) std::abort();
    std::memset(memory_, 0xff, bytes);
  }
  of_running_block = memory_;
}

SharedMemoryOfBlock::~SharedMemoryOfBlock() {
  std::free(memory_);
  of_running_block = nullptr;
}

void* DynamicSharedMemory() {
  return of_running_block;
}

void ReportKernelFault(const char* format, ...) {
  std::fputs("cuda_on_cpu: ", stderr);
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputc('\n', stderr);
  std::abort();
}

}  // namespace retort::cuda_on_cpu
