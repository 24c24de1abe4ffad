// Lines that retort-train prints on standard output: one JSON object each, told apart by "event".
//
//   {"event":"started","parameters":…,"active_parameters":…,"resumed_step":…}
//   {"event":"step","step":…,"steps":…,"loss":…,"tokens":…,"tokens_per_second":…}
//   {"event":"report","step":…,"steps":…,"loss":…,"seconds":…,"tokens_per_second":…,"phases":{…},…}
//   {"event":"checkpoint","step":…,"digest":"…"}
//   {"event":"quality","student":"untrained|text_only|logits","kl":…,"agreement":…,"perplexity":…,"tokens":…}
//   {"event":"finished","step":…,"digest":"…","entry":…,"student_dir":"…"}
//   {"event":"error","code":"…","message":"…"}
//
// The trainer is a separate program: what it prints is checked like any other input.
#ifndef SERVICES_JOBS_TRAINER_EVENT_H_
#define SERVICES_JOBS_TRAINER_EVENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::jobs {

// Routed layers that a report may speak of.
inline constexpr size_t kExpertLoadsMax = 256;

struct TrainerStarted {
  int64_t parameters = 0, active_parameters = 0, resumed_step = 0;
};
struct TrainerStep {
  int64_t step = 0, steps = 0;
  double loss = 0;
  int64_t tokens = 0;  // of this step
  double tokens_per_second = 0;
};
// services/train/report.h says what the numbers mean; what is not measured is absent.
struct TrainerReport {
  int64_t step = 0, steps = 0;
  double loss = 0;
  double seconds = 0, tokens_per_second = 0;
  double data = 0, forward = 0, backward = 0, optimizer = 0, communication = 0, checkpoint = 0;  // seconds
  double flops_per_second = 0;
  std::optional<double> prediction_loss;
  std::optional<double> peak_flops_per_second, mfu;
  std::vector<double> expert_load;  // at most kExpertLoadsMax
  int64_t resident_bytes = 0;
  std::optional<int64_t> device_memory_bytes;
  std::optional<double> celsius, watts;
  std::string energy_source;  // none, rapl, nvml, declared
  std::optional<double> joules;
};
struct TrainerCheckpoint {
  int64_t step = 0;
  std::string digest;
};
struct TrainerQuality {
  std::string student;
  double kl = 0, agreement = 0, perplexity = 0;
  int64_t tokens = 0;
};
struct TrainerFinished {
  int64_t step = 0;
  std::string digest;  // lower-case hex SHA-256
  int64_t entry = 0;
  std::string student_dir;
};
struct TrainerError {
  std::string code, message;  // the message is cut at 500 bytes
};

using TrainerEvent = std::variant<TrainerStarted, TrainerStep, TrainerReport, TrainerCheckpoint,
                                  TrainerQuality, TrainerFinished, TrainerError>;

// InvalidArgument for anything but one of the objects above; members that are not listed are ignored, so that
// a newer trainer may say more. Never throws.
absl::StatusOr<TrainerEvent> ParseTrainerEvent(std::string_view line);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_TRAINER_EVENT_H_
