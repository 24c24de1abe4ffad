// Dynamic shared memory of the block that runs: as long as the launch said, so that AddressSanitizer sees the
// next byte, and filled with NaN for every block.
#ifndef TESTS_CUDA_ON_CPU_SHARED_MEMORY_H_
#define TESTS_CUDA_ON_CPU_SHARED_MEMORY_H_

#include <cstddef>

namespace retort::cuda_on_cpu {

class SharedMemoryOfBlock {
 public:
  explicit SharedMemoryOfBlock(std::size_t bytes);
  ~SharedMemoryOfBlock();
  SharedMemoryOfBlock(const SharedMemoryOfBlock&) = delete;
  SharedMemoryOfBlock& operator=(const SharedMemoryOfBlock&) = delete;

 private:
  void* memory_ = nullptr;
};

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_SHARED_MEMORY_H_
