#include "services/train/report.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <numeric>

namespace retort::train {
namespace {

// Busiest expert over the mean, per layer; layers without a token are left out.
std::vector<double> Imbalance(const std::vector<int64_t>& tokens, size_t experts) {
  std::vector<double> loads;
  for (size_t first = 0; experts > 0 && first + experts <= tokens.size(); first += experts) {
    const auto layer = tokens.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = layer + static_cast<std::ptrdiff_t>(experts);
    const int64_t sum = std::accumulate(layer, end, int64_t{0});
    if (sum == 0) continue;
    loads.push_back(static_cast<double>(*std::max_element(layer, end)) * static_cast<double>(experts) /
                    static_cast<double>(sum));
  }
  return loads;
}

}  // namespace

Instruments PlainInstruments() {
  Instruments instruments;
  instruments.now_us = [] {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
  instruments.seconds = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  instruments.begun_us = instruments.now_us();
  instruments.begun_seconds = instruments.seconds();
  return instruments;
}

int64_t ResidentBytes() {
  std::ifstream in("/proc/self/statm");
  int64_t size = 0, resident = 0;
  if (!(in >> size >> resident)) return 0;
  return resident * sysconf(_SC_PAGESIZE);
}

Reporter::Reporter(const student::ModelConfig& config, int64_t steps, double every_seconds,
                   const Instruments& instruments)
    : config_(config),
      steps_(steps),
      every_seconds_(every_seconds),
      instruments_(instruments),
      begun_(instruments.seconds()) {
  if (instruments.energy == nullptr) return;
  if (const auto microjoules = instruments.energy->Read())
    joules_before_ = static_cast<double>(*microjoules) / 1e6;
}

void Reporter::Add(const student::TrainedStep& step) {
  now_.step = step.step;
  now_.loss = step.loss;
  now_.prediction_loss = step.prediction_loss;
  now_.tokens += step.tokens;
  now_.phases.data += step.phases.data;
  now_.phases.forward += step.phases.forward;
  now_.phases.backward += step.phases.backward;
  now_.phases.optimizer += step.phases.optimizer;
  now_.phases.communication += step.phases.communication;
  flops_ += student::TrainingFlopsPerToken(config_, step.average_context) * static_cast<double>(step.tokens);
  expert_tokens_.resize(std::max(expert_tokens_.size(), step.expert_tokens.size()));
  for (size_t i = 0; i < step.expert_tokens.size(); ++i) expert_tokens_[i] += step.expert_tokens[i];
}

bool Reporter::Due() const {
  if (now_.step == 0) return false;
  return now_.step == steps_ || instruments_.seconds() - begun_ >= every_seconds_;
}

Report Reporter::Take() {
  const double now = instruments_.seconds();
  Report report = std::move(now_);
  report.steps = steps_;
  report.seconds = now - begun_;
  if (report.seconds > 0) {
    report.tokens_per_second = static_cast<double>(report.tokens) / report.seconds;
    report.flops_per_second = flops_ / report.seconds;
  }
  report.peak_flops_per_second = instruments_.peak_flops_per_second;
  if (report.peak_flops_per_second && *report.peak_flops_per_second > 0) {
    report.mfu = report.flops_per_second / *report.peak_flops_per_second;
  }
  report.expert_load = Imbalance(expert_tokens_, static_cast<size_t>(config_.experts));
  report.resident_bytes = ResidentBytes();
  report.energy_source = "none";
  if (instruments_.energy != nullptr) {
    report.energy_source = instruments_.energy->source();
    if (const auto microjoules = instruments_.energy->Read()) {
      report.joules = static_cast<double>(*microjoules) / 1e6;
      if (joules_before_ && report.seconds > 0)
        report.watts = (*report.joules - *joules_before_) / report.seconds;
      joules_before_ = report.joules;
    }
  }
  if (instruments_.sensors) {
    const student::NvmlReading reading = instruments_.sensors();
    report.celsius = reading.celsius;
    if (reading.watts) report.watts = reading.watts;
    if (reading.memory_used_bytes)
      report.device_memory_bytes = static_cast<int64_t>(*reading.memory_used_bytes);
  }
  now_ = {};
  flops_ = 0;
  expert_tokens_.clear();
  begun_ = now;
  return report;
}

}  // namespace retort::train
