#include "services/train/metrics_file.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace retort::train {
namespace {

std::string Number(double value) {
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return error == std::errc() ? std::string(text, end) : "NaN";
}

// Backslash, quote and newline are the three that a label value escapes; other control bytes become '?'.
std::string Escaped(const std::string& value) {
  std::string text;
  for (const char c : value) {
    if (c == '\\' || c == '"') {
      text += '\\';
      text += c;
    } else {
      text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    }
  }
  return text;
}

class Text {
 public:
  explicit Text(const MetricLabels& labels) : labels_(labels) {}

  void Family(const char* name, const char* type, const char* help) {
    name_ = name;
    out_ += std::string("# HELP ") + name + " " + help + "\n# TYPE " + name + " " + type + "\n";
  }
  void Sample(double value, const MetricLabels& more = {}) {
    out_ += name_ + "{";
    bool first = true;
    for (const MetricLabels* list : {&labels_, &more}) {
      for (const auto& [label, text] : *list) {
        out_ += (first ? "" : ",") + label + "=\"" + Escaped(text) + "\"";
        first = false;
      }
    }
    out_ += "} " + Number(value) + "\n";
  }
  void Gauge(const char* name, const char* help, double value) {
    Family(name, "gauge", help);
    Sample(value);
  }
  template <typename Value>
  void Gauge(const char* name, const char* help, const std::optional<Value>& value) {
    if (value) Gauge(name, help, static_cast<double>(*value));
  }
  std::string Take() { return std::move(out_); }

 private:
  const MetricLabels& labels_;
  std::string name_, out_;
};

}  // namespace

void MetricTotals::Add(const Report& report) {
  tokens += report.tokens;
  phases.data += report.phases.data;
  phases.forward += report.phases.forward;
  phases.backward += report.phases.backward;
  phases.optimizer += report.phases.optimizer;
  phases.communication += report.phases.communication;
  checkpoint_seconds += report.checkpoint_seconds;
}

std::string MetricsText(const Report& report, const MetricTotals& totals, const MetricLabels& labels) {
  Text text(labels);
  text.Family("retort_train_info", "gauge",
              "The attempt that reports: its device and what measures its energy.");
  text.Sample(1, {{"attempt", std::to_string(totals.attempt)},
                  {"device", totals.device},
                  {"energy_source", report.energy_source}});
  text.Gauge("retort_train_step", "Optimiser steps done by the run.", static_cast<double>(report.step));
  text.Gauge("retort_train_steps", "Optimiser steps of the whole run.", static_cast<double>(report.steps));
  text.Gauge("retort_train_loss", "Loss of the newest step, nats per token.", report.loss);
  text.Gauge("retort_train_prediction_loss",
             "Loss of multi-token prediction in the newest step, nats per target.", report.prediction_loss);
  text.Family("retort_train_tokens_total", "counter", "Tokens that this attempt has trained on.");
  text.Sample(static_cast<double>(totals.tokens));
  text.Gauge("retort_train_tokens_per_second", "Tokens per second in the last interval.",
             report.tokens_per_second);
  text.Family("retort_train_phase_seconds_total", "counter", "Wall time of this attempt by phase of a step.");
  const std::pair<const char*, double> phases[] = {{"data", totals.phases.data},
                                                   {"forward", totals.phases.forward},
                                                   {"backward", totals.phases.backward},
                                                   {"optimizer", totals.phases.optimizer},
                                                   {"communication", totals.phases.communication},
                                                   {"checkpoint", totals.checkpoint_seconds}};
  for (const auto& [phase, seconds] : phases) text.Sample(seconds, {{"phase", phase}});
  text.Gauge("retort_train_flops_per_second", "Arithmetic of the model per second in the last interval.",
             report.flops_per_second);
  text.Gauge("retort_train_peak_flops_per_second", "What the devices could do.",
             report.peak_flops_per_second);
  text.Gauge("retort_train_mfu_ratio", "Share of that peak that the model's arithmetic used.", report.mfu);
  text.Gauge("retort_train_resident_memory_bytes", "Resident memory of the process.",
             static_cast<double>(report.resident_bytes));
  text.Gauge("retort_train_device_memory_used_bytes", "Memory in use on the device.",
             report.device_memory_bytes);
  if (!report.expert_load.empty()) {
    text.Family("retort_train_expert_load_imbalance", "gauge",
                "Tokens of the busiest expert over the mean, by routed layer.");
    for (size_t i = 0; i < report.expert_load.size(); ++i) {
      text.Sample(report.expert_load[i], {{"layer", std::to_string(i)}});
    }
  }
  text.Gauge("retort_train_temperature_celsius", "Temperature of the device.", report.celsius);
  text.Gauge("retort_train_power_watts", "Power; energy_source of retort_train_info says whose word it is.",
             report.watts);
  if (report.joules) {
    text.Family("retort_train_energy_joules_total", "counter", "Energy of this attempt.");
    text.Sample(*report.joules);
  }
  text.Gauge("retort_train_report_timestamp_seconds", "When this was written, seconds since 1970.",
             static_cast<double>(totals.report_time_us) / 1e6);
  return text.Take();
}

MetricsFile::~MetricsFile() {
  if (!path_.empty()) unlink(path_.c_str());
}

absl::Status MetricsFile::Write(std::string_view text) {
  if (path_.empty()) return absl::OkStatus();
  const std::string partial = path_ + ".partial";  // no collector takes this name
  std::ofstream out(partial, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) return absl::UnavailableError(partial + ": cannot be written (" + std::strerror(errno) + ")");
  if (std::rename(partial.c_str(), path_.c_str()) != 0) {
    return absl::UnavailableError(path_ + ": " + std::strerror(errno));
  }
  return absl::OkStatus();
}

}  // namespace retort::train
