// The newest report of a run in the Prometheus text format, for the textfile collector of a node exporter.
//
// The file is replaced whole, by a rename within its folder, so that a collector never reads half of it; the
// collector takes files that end in .prom. It is removed when the run ends in an orderly way; one that a
// killed run has left shows by retort_train_report_timestamp_seconds. docs/operations.md lists the metrics.
#ifndef SERVICES_TRAIN_METRICS_FILE_H_
#define SERVICES_TRAIN_METRICS_FILE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "services/train/report.h"

namespace retort::train {

// Label names and values that every metric of the run carries.
using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// What adds up over the attempt, since its process began.
struct MetricTotals {
  int64_t attempt = 0;
  int64_t tokens = 0;
  student::StepPhases phases;
  double checkpoint_seconds = 0;
  int64_t report_time_us = 0;
  std::string device;

  void Add(const Report& report);
};

// The text of the file. Pure. Values that are absent in the report have no line.
std::string MetricsText(const Report& report, const MetricTotals& totals, const MetricLabels& labels);

class MetricsFile {
 public:
  // `path` empty: nothing is ever written.
  explicit MetricsFile(std::string path) : path_(std::move(path)) {}
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  // Unavailable naming the path when the folder or disk refuses; the run goes on without metrics.
  absl::Status Write(std::string_view text);

 private:
  const std::string path_;
};

}  // namespace retort::train

#endif  // SERVICES_TRAIN_METRICS_FILE_H_
