// What retort-train tells its launcher: one JSON object per line on standard output, told apart by "event".
//
//   {"event":"started","parameters":…,"active_parameters":…,"resumed_step":…}
//   {"event":"step","step":…,"steps":…,"loss":…,"tokens":…,"tokens_per_second":…}
//   {"event":"report","step":…,"steps":…,"loss":…,"tokens":…,"seconds":…,"tokens_per_second":…,
//    "phases":{"data":…,"forward":…,"backward":…,"optimizer":…,"communication":…,"checkpoint":…},
//    "flops_per_second":…,"prediction_loss":…,"peak_flops_per_second":…,"mfu":…,"expert_load":[…],"resident_bytes":…,
//    "device_memory_bytes":…,"celsius":…,"watts":…,"energy_source":"…","joules":…}   report.h; what was not
//    measured is left out
//   {"event":"checkpoint","step":…,"digest":"…"}
//   {"event":"quality","student":"untrained|text_only|logits","kl":…,"agreement":…,"perplexity":…,"tokens":…}
//   {"event":"finished","step":…,"digest":"…","entry":…,"student_dir":"…"}
//   {"event":"error","code":"…","message":"…"}
//
// Each line is flushed. A launcher that went away is not an error: the run goes on until its own signals end
// it. One thread at a time.
#ifndef SERVICES_TRAIN_EVENTS_H_
#define SERVICES_TRAIN_EVENTS_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "services/train/report.h"
#include "student/evaluation/evaluate.h"
#include "student/training/trainer.h"

namespace retort::train {

class Events {
 public:
  // `out` must outlive this.
  explicit Events(std::ostream& out) : out_(out) {}

  void Started(int64_t parameters, int64_t active_parameters, int64_t resumed_step);
  void Step(const student::TrainedStep& step, int64_t steps);
  void Reported(const Report& report);
  void Checkpoint(const student::CheckpointInfo& checkpoint);
  void Quality(std::string_view student, const student::Quality& quality);
  void Finished(const student::CheckpointInfo& checkpoint, int64_t entry, const std::string& student_dir);
  void Error(const absl::Status& status);

 private:
  std::ostream& out_;
};

}  // namespace retort::train

#endif  // SERVICES_TRAIN_EVENTS_H_
