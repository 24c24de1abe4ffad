// Times every operator of the training step alone, at the sizes that it has in one model, beside the work
// that it cannot avoid: its operations and the bytes that it reads and writes when each is touched once.
#ifndef STUDENT_BENCH_OPERATORS_H_
#define STUDENT_BENCH_OPERATORS_H_

#include <string>
#include <vector>

#include "student/bench/bench_batch.h"
#include "student/bench/ceilings.h"
#include "student/device/backend.h"

namespace retort::student {

struct OperatorTime {
  std::string name;  // of the operator, with what it is applied to
  double flops = 0;  // of matrix products and attention; 0 where bytes are all that matters
  double bytes = 0;
  double seconds = 0;

  // Seconds at the ceilings: whichever of operations and bytes takes longer.
  double bound(const Ceilings& ceilings) const;
  // Which of the two it is.
  bool memory_bound(const Ceilings& ceilings) const;
};

// One entry for each operator, forward and backward, in the order of a step. Ends the program with the
// backend's sentence if the device fails.
std::vector<OperatorTime> MeasureOperators(Backend& backend, const ModelConfig& config,
                                           const BatchShape& shape, double seconds);

}  // namespace retort::student

#endif  // STUDENT_BENCH_OPERATORS_H_
