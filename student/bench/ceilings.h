// The two rates that bound every operator on a device, measured in the same run as the operators.
#ifndef STUDENT_BENCH_CEILINGS_H_
#define STUDENT_BENCH_CEILINGS_H_

#include <cstdint>

#include "student/device/backend.h"

namespace retort::student {

struct Ceilings {
  double flops = 0;  // per second: the best of a few large matrix products in the type of activations
  double bytes =
      0;  // per second: a copy inside the device's memory, bytes read and bytes written both counted
};

// `size` is the side of the largest square product, and size * size floats are copied: large enough that
// neither fits a cache. `seconds` for each measurement.
Ceilings MeasureCeilings(Backend& backend, std::int64_t size, double seconds);

// The rate of dense matrix products that the maker states for a device of this name and compute type, in
// operations per second; 0 when it is not known here.
double StatedPeak(const DeviceDescription& description);

}  // namespace retort::student

#endif  // STUDENT_BENCH_CEILINGS_H_
