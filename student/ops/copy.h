// Moving and adding values on a device; the CPU side has std::copy_n for this. Device memory throughout
// (student/ops/README.md). From and To: float or Bf16; a float is rounded to nearest, ties to even.
#ifndef STUDENT_OPS_COPY_H_
#define STUDENT_OPS_COPY_H_

#include <cstddef>
#include <cstdint>

#include "student/device/device_types.h"

namespace retort::student {

// y[row, i] = x[row, i], i < n: a cast, or one side of splitting rows into columns (key latent and rope key)
// and of joining them. x and y do not overlap.
template <typename From, typename To>
void CopyColumns(Stream stream, const From* x, std::int64_t x_stride, std::int64_t rows, int n, To* y,
                 std::int64_t y_stride);

// y += x.
template <typename From>
void AddInto(Stream stream, const From* x, std::int64_t count, float* y);

// Zero bytes, which are zeros of every type here.
void SetZero(Stream stream, void* memory, std::size_t bytes);

}  // namespace retort::student

#endif  // STUDENT_OPS_COPY_H_
