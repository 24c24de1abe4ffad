// Working memory of floats that grows and is never given back before its end. Growing per batch and not
// allocating per batch matters: fresh pages for large buffers cost up to a fifth of a training step.
#ifndef STUDENT_TENSOR_BUFFER_H_
#define STUDENT_TENSOR_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace retort::student {

class Buffer {
 public:
  // Room for `size` floats, 64-byte aligned. Contents are undefined after it grew. The pointer is valid until
  // the next call with a larger size.
  float* Reserve(std::int64_t size) {
    if (size > size_) {
      values_.reset();
      const std::size_t bytes = (static_cast<std::size_t>(size) * sizeof(float) + 63) / 64 * 64;
      values_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
      if (values_ == nullptr) throw std::bad_alloc();
      size_ = size;
    }
    return values_.get();
  }
  float* data() { return values_.get(); }
  const float* data() const { return values_.get(); }

 private:
  struct Free {
    void operator()(float* values) const { std::free(values); }
  };
  std::unique_ptr<float[], Free> values_;
  std::int64_t size_ = 0;
};

}  // namespace retort::student

#endif  // STUDENT_TENSOR_BUFFER_H_
