// A vector in device memory, for the tests of this folder.
#ifndef TESTS_CUDA_ON_CPU_ON_DEVICE_H_
#define TESTS_CUDA_ON_CPU_ON_DEVICE_H_

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <vector>

namespace retort::cuda_on_cpu {

template <class T>
class OnDevice {
 public:
  explicit OnDevice(std::size_t size) : size_(size) {
    EXPECT_EQ(cudaMalloc(&pointer_, size * sizeof(T)), cudaSuccess);
  }
  explicit OnDevice(const std::vector<T>& values) : OnDevice(values.size()) { Write(values); }
  ~OnDevice() { cudaFree(pointer_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* get() const { return pointer_; }
  void Write(const std::vector<T>& values) {
    EXPECT_EQ(values.size(), size_);
    EXPECT_EQ(cudaMemcpy(pointer_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
  }
  std::vector<T> Read() const {  // after all work of blocking streams
    std::vector<T> values(size_);
    EXPECT_EQ(cudaMemcpy(values.data(), pointer_, size_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  T* pointer_ = nullptr;
  std::size_t size_;
};

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_ON_DEVICE_H_
