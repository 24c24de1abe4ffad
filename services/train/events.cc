#include "services/train/events.h"

#include <nlohmann/json.hpp>

namespace retort::train {
namespace {

void Write(std::ostream& out, const nlohmann::ordered_json& event) {
  out << event.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) << std::endl;
}

}  // namespace

void Events::Started(int64_t parameters, int64_t active_parameters, int64_t resumed_step) {
  Write(out_, {{"event", "started"},
               {"parameters", parameters},
               {"active_parameters", active_parameters},
               {"resumed_step", resumed_step}});
}

void Events::Step(const student::TrainedStep& step, int64_t steps) {
  const double rate = step.seconds > 0 ? static_cast<double>(step.tokens) / step.seconds : 0;
  Write(out_, {{"event", "step"},
               {"step", step.step},
               {"steps", steps},
               {"loss", step.loss},
               {"tokens", step.tokens},
               {"tokens_per_second", rate}});
}

void Events::Reported(const Report& report) {
  nlohmann::ordered_json event = {{"event", "report"},
                                  {"step", report.step},
                                  {"steps", report.steps},
                                  {"loss", report.loss},
                                  {"tokens", report.tokens},
                                  {"seconds", report.seconds},
                                  {"tokens_per_second", report.tokens_per_second},
                                  {"phases",
                                   {{"data", report.phases.data},
                                    {"forward", report.phases.forward},
                                    {"backward", report.phases.backward},
                                    {"optimizer", report.phases.optimizer},
                                    {"communication", report.phases.communication},
                                    {"checkpoint", report.checkpoint_seconds}}},
                                  {"flops_per_second", report.flops_per_second}};
  const auto add = [&event](const char* name, const auto& value) {
    if (value) event[name] = *value;
  };
  add("prediction_loss", report.prediction_loss);
  add("peak_flops_per_second", report.peak_flops_per_second);
  add("mfu", report.mfu);
  event["expert_load"] = report.expert_load;
  event["resident_bytes"] = report.resident_bytes;
  add("device_memory_bytes", report.device_memory_bytes);
  add("celsius", report.celsius);
  add("watts", report.watts);
  event["energy_source"] = report.energy_source;
  add("joules", report.joules);
  Write(out_, event);
}

void Events::Checkpoint(const student::CheckpointInfo& checkpoint) {
  Write(out_, {{"event", "checkpoint"}, {"step", checkpoint.step}, {"digest", checkpoint.digest}});
}

void Events::Quality(std::string_view student, const student::Quality& quality) {
  Write(out_, {{"event", "quality"},
               {"student", student},
               {"kl", quality.kl},
               {"agreement", quality.agreement},
               {"perplexity", quality.perplexity},
               {"tokens", quality.tokens}});
}

void Events::Finished(const student::CheckpointInfo& checkpoint, int64_t entry,
                      const std::string& student_dir) {
  Write(out_, {{"event", "finished"},
               {"step", checkpoint.step},
               {"digest", checkpoint.digest},
               {"entry", entry},
               {"student_dir", student_dir}});
}

void Events::Error(const absl::Status& status) {
  Write(out_, {{"event", "error"},
               {"code", absl::StatusCodeToString(status.code())},
               {"message", std::string(status.message())}});
}

}  // namespace retort::train
