// What a worker says of itself in each reporting interval: where the time went, how fast, how hot, how much.
//
// Everything here was measured, by clocks, counters and sensors; what was not is absent. Nothing of it
// reaches the weights: a run with reports and one without give the same bits.
#ifndef SERVICES_TRAIN_REPORT_H_
#define SERVICES_TRAIN_REPORT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "student/device/energy.h"
#include "student/device/nvml.h"
#include "student/model/config.h"
#include "student/training/trainer.h"

namespace retort::train {

struct Report {
  int64_t step = 0, steps = 0;
  double loss = 0;                        // of the newest step
  std::optional<double> prediction_loss;  // the same, of multi-token prediction (student::TrainedStep)
  int64_t tokens = 0;                     // forwarded in the interval
  double seconds = 0;                     // of the interval, wall time
  double tokens_per_second = 0;
  // Seconds of the interval; what is missing to `seconds` was spent between steps (events, the ledger).
  student::StepPhases phases;
  double checkpoint_seconds = 0;
  // Arithmetic of the model (student::TrainingFlopsPerToken; nothing computed twice is counted), and what the
  // device could do: the share is the MFU.
  double flops_per_second = 0;
  std::optional<double> peak_flops_per_second, mfu;
  std::vector<double> expert_load;  // per routed layer: tokens of the busiest expert over the mean, from 1
  int64_t resident_bytes = 0;       // of this process
  std::optional<int64_t> device_memory_bytes;
  std::optional<double> celsius, watts;
  std::string energy_source;     // none, rapl, nvml, declared: of watts and joules
  std::optional<double> joules;  // since the attempt began
};

// What the worker measures with; set once per run.
struct Instruments {
  std::string device = "cpu";                     // for people and for the ledger
  int devices = 1;                                // that work at once
  std::optional<double> peak_flops_per_second;    // of all of them; unknown: no MFU
  student::EnergyMeter* energy = nullptr;         // null: nothing measures; otherwise outlives the run
  std::function<student::NvmlReading()> sensors;  // may be empty
  std::function<int64_t()> now_us;                // wall clock, microseconds since 1970
  int64_t begun_us = 0;  // when the attempt began, by now_us and by seconds: the meter counts from there
  double begun_seconds = 0;
  std::function<double()> seconds;  // of a clock that never goes back
};

// Instruments with the clocks of this machine and nothing else; the attempt begins now.
Instruments PlainInstruments();

// Resident memory of this process, from /proc/self/statm; 0 when that cannot be read.
int64_t ResidentBytes();

// Collects steps until a report is due. One thread.
class Reporter {
 public:
  // `instruments` must outlive it. every_seconds 0: a report with each step.
  Reporter(const student::ModelConfig& config, int64_t steps, double every_seconds,
           const Instruments& instruments);

  void Add(const student::TrainedStep& step);
  void AddCheckpoint(double seconds) { now_.checkpoint_seconds += seconds; }

  // True when the interval has passed and holds a step; always after the last step.
  bool Due() const;
  // The report of the interval, which ends here; the next one begins.
  Report Take();

 private:
  const student::ModelConfig config_;
  const int64_t steps_;
  const double every_seconds_;
  const Instruments& instruments_;
  double begun_;
  Report now_;
  double flops_ = 0;
  std::vector<int64_t> expert_tokens_;
  std::optional<double> joules_before_;
};

}  // namespace retort::train

#endif  // SERVICES_TRAIN_REPORT_H_
