// Lays out buffers one behind the other in one piece of memory. The same function runs twice: on an Arena
// without memory it measures how much is needed, on one with memory it hands out the pointers. So what is
// predicted before a run is what the run takes.
//
//   Arena measured;  block.PlanSaved(sizes, &measured);  void* base = backend.Allocate(measured.bytes());
//   Arena real(base); block.PlanSaved(sizes, &real);
#ifndef STUDENT_MODEL_ARENA_H_
#define STUDENT_MODEL_ARENA_H_

#include <algorithm>
#include <cstdint>

#include "student/device/backend.h"

namespace retort::student {

class Arena {
 public:
  Arena() = default;
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}

  // `count` values, 256-byte aligned; null while measuring.
  template <typename T>
  T* Take(std::int64_t count) {
    char* const at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (count * static_cast<std::int64_t>(sizeof(T)) + 255) / 256 * 256;
    most_ = std::max(most_, used_);
    return reinterpret_cast<T*>(at);
  }
  Values Take(Element element, std::int64_t count) { return {Take<char>(count * BytesOf(element)), element}; }
  // Room for Backend::Convert: nothing in fp32.
  Values TakeConverted(Element element, std::int64_t count) {
    return element == Element::kF32 ? Values() : Take(element, count);
  }

  // Buffers that are never alive at once share memory: take the first ones, Rewind to the mark, take the
  // next.
  std::int64_t mark() const { return used_; }
  void Rewind(std::int64_t mark) { used_ = mark; }
  // Ends sharing: what is taken next lies behind everything taken so far.
  void SkipToEnd() { used_ = most_; }

  std::int64_t bytes() const { return most_; }

 private:
  char* base_ = nullptr;
  std::int64_t used_ = 0, most_ = 0;
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_ARENA_H_
