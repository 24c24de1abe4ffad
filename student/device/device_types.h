// The types that cross from host code to kernels, so that neither side needs the other's headers.
#ifndef STUDENT_DEVICE_DEVICE_TYPES_H_
#define STUDENT_DEVICE_DEVICE_TYPES_H_

#include <cstdint>

namespace retort::student {

class CommandList;

// A view of a stream of some device runtime; what it points at belongs to the backend that made it. Work
// given to one stream runs in order, work on two streams only as events say.
struct Stream {
  void* handle = nullptr;  // a cudaStream_t
  // Not null: launches are kept there instead of being given to the stream (cuda/command_list.h).
  CommandList* kept = nullptr;
};

// A number of 16 bits: the upper half of an IEEE 754 single, rounded to nearest, ties to even. Laid out as
// __nv_bfloat16.
struct Bf16 {
  std::uint16_t bits;
};
static_assert(sizeof(Bf16) == 2);

}  // namespace retort::student

#endif  // STUDENT_DEVICE_DEVICE_TYPES_H_
