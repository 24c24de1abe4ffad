#include "student/optimizer/schedule.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>

namespace retort::student {

double LearningRate(const Schedule& s, std::int64_t step) {
  assert(step >= 0 && s.total_steps >= 1 && s.warmup_steps >= 0 && s.warmup_steps <= s.total_steps);
  if (step < s.warmup_steps)
    return s.peak * static_cast<double>(step + 1) / static_cast<double>(s.warmup_steps);
  const std::int64_t last = s.total_steps - 1;
  if (step >= last) return s.peak * s.final_fraction;
  // From the first step after the warm-up, still at the peak, to the last.
  const double progress =
      static_cast<double>(step - s.warmup_steps) / static_cast<double>(last - s.warmup_steps);
  return s.peak *
         (s.final_fraction + (1 - s.final_fraction) * 0.5 * (1 + std::cos(std::numbers::pi * progress)));
}

double ExpertBiasRate(std::int64_t step, std::int64_t total_steps, double rate) {
  // 100 * remaining <= 3 * total, in whole numbers.
  return 100 * (total_steps - step) <= 3 * total_steps ? 0.0 : rate;
}

}  // namespace retort::student
