// Learning rate and router balancing rate as pure functions of the step.
#ifndef STUDENT_OPTIMIZER_SCHEDULE_H_
#define STUDENT_OPTIMIZER_SCHEDULE_H_

#include <cstdint>

namespace retort::student {

struct Schedule {
  double peak = 1e-3;
  std::int64_t warmup_steps = 0;  // linear from peak/warmup_steps at step 0 to peak
  std::int64_t total_steps = 1;   // >= 1, >= warmup_steps
  double final_fraction = 0.1;    // the cosine ends at peak * final_fraction, at step total_steps - 1
};

// Learning rate of step `step` (the first is 0). Constant at the end value from total_steps on.
double LearningRate(const Schedule& schedule, std::int64_t step);

// gamma for UpdateExpertBias after step `step`: rate (1e-3 in DeepSeek-V3), but 0 in the last 3 % of the
// steps, so that the router's selection settles.
double ExpertBiasRate(std::int64_t step, std::int64_t total_steps, double rate = 1e-3);

}  // namespace retort::student

#endif  // STUDENT_OPTIMIZER_SCHEDULE_H_
