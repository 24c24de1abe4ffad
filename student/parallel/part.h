// A range of an array.
#ifndef STUDENT_PARALLEL_PART_H_
#define STUDENT_PARALLEL_PART_H_

#include <cstdint>

namespace retort::student {

// Elements [begin, end).
struct Part {
  std::int64_t begin = 0, end = 0;
  std::int64_t size() const { return end - begin; }
  bool operator==(const Part&) const = default;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_PART_H_
