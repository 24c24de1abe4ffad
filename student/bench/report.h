// What device_bench prints: a table for people and one line of JSON for programs.
#ifndef STUDENT_BENCH_REPORT_H_
#define STUDENT_BENCH_REPORT_H_

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "student/bench/ceilings.h"
#include "student/bench/operators.h"
#include "student/bench/training_step.h"

namespace retort::student {

struct Report {
  std::string shape;  // its name
  ModelConfig config;
  BatchShape batch;
  DeviceDescription device;
  Ceilings ceilings;
  double stated_peak = 0;  // 0: not known
  std::vector<OperatorTime> operators;
  std::optional<StepTime> step;
};

void PrintTable(const Report& report, std::FILE* out);
void PrintJson(const Report& report, std::FILE* out);

}  // namespace retort::student

#endif  // STUDENT_BENCH_REPORT_H_
