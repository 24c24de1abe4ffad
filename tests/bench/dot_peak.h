// The arithmetic peak of 16-bit integer products: what packed products could reach if nothing else took time.
#ifndef TESTS_BENCH_DOT_PEAK_H_
#define TESTS_BENCH_DOT_PEAK_H_

#include <cstdint>

namespace retort::student {

// Multiplies and adds 16-bit pairs in registers for about ten milliseconds with the best instructions of this
// CPU, and returns the number of multiply-adds done.
uint64_t DotPeakRound();

}  // namespace retort::student

#endif  // TESTS_BENCH_DOT_PEAK_H_
