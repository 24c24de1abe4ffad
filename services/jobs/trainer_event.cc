#include "services/jobs/trainer_event.h"

#include <cmath>
#include <initializer_list>

#include "ledger/hex.h"
#include "nlohmann/json.hpp"

namespace retort::jobs {
namespace {

using Json = nlohmann::json;

constexpr size_t kLineBytesMax = 64 * 1024;
constexpr size_t kMessageBytesMax = 500;
constexpr size_t kPathBytesMax = 4096;

// Reads members and remembers the first that is missing or of another kind.
class Members {
 public:
  explicit Members(const Json& object) : object_(object) {}

  int64_t Integer(const char* name) {
    const auto member = object_.find(name);
    if (member == object_.end() || !member->is_number_integer() ||
        (member->is_number_unsigned() && *member > INT64_MAX)) {
      return Fail(name, "an integer"), 0;
    }
    const int64_t value = member->get<int64_t>();
    if (value < 0) Fail(name, "an integer from 0");
    return value;
  }

  double Number(const char* name) {
    const auto member = object_.find(name);
    if (member == object_.end() || !member->is_number()) return Fail(name, "a number"), 0;
    const double value = member->get<double>();
    if (!std::isfinite(value)) Fail(name, "a finite number");
    return value;
  }

  bool Has(const char* name) const { return object_.contains(name); }

  // From 0.
  double Amount(const char* name) {
    const double value = Number(name);
    if (value < 0) Fail(name, "a number from 0");
    return value;
  }
  // A member that may be left out.
  std::optional<double> AmountIfAny(const char* name) {
    if (!Has(name)) return std::nullopt;
    return Amount(name);
  }
  std::optional<int64_t> IntegerIfAny(const char* name) {
    if (!Has(name)) return std::nullopt;
    return Integer(name);
  }

  std::vector<double> Amounts(const char* name, size_t count_max) {
    const auto member = object_.find(name);
    if (member == object_.end() || !member->is_array() || member->size() > count_max) {
      return Fail(name, "an array that is not too long"), std::vector<double>();
    }
    std::vector<double> values;
    for (const Json& item : *member) {
      if (!item.is_number()) return Fail(name, "an array of numbers"), std::vector<double>();
      values.push_back(item.get<double>());
      if (!std::isfinite(values.back()) || values.back() < 0) Fail(name, "an array of finite numbers from 0");
    }
    return values;
  }

  const Json& Object(const char* name) {
    static const Json kNone = Json::object();
    const auto member = object_.find(name);
    if (member == object_.end() || !member->is_object()) return Fail(name, "an object"), kNone;
    return *member;
  }

  std::string Text(const char* name, size_t bytes_max) {
    const auto member = object_.find(name);
    if (member == object_.end() || !member->is_string()) return Fail(name, "a text"), std::string();
    const std::string& text = member->get_ref<const std::string&>();
    return text.size() <= bytes_max ? text : text.substr(0, bytes_max);
  }

  std::string Digest(const char* name) {
    const std::string text = Text(name, 64);
    if (!ledger::DigestFromHex(text).ok()) Fail(name, "64 lower-case hex digits");
    return text;
  }

  void Fail(const char* name, const char* wanted) {
    if (status_.ok())
      status_ =
          absl::InvalidArgumentError(std::string("trainer event, member ") + name + ": wanted " + wanted);
  }

  const absl::Status& status() const { return status_; }

 private:
  const Json& object_;
  absl::Status status_;
};

TrainerEvent ReadQuality(Members& in) {
  TrainerQuality quality{in.Text("student", 32), in.Number("kl"), in.Number("agreement"),
                         in.Number("perplexity"), in.Integer("tokens")};
  if (quality.student != "untrained" && quality.student != "text_only" && quality.student != "logits") {
    in.Fail("student", "untrained, text_only or logits");
  }
  return quality;
}

TrainerReport ReadReport(Members& in) {
  TrainerReport report;
  report.step = in.Integer("step");
  report.steps = in.Integer("steps");
  report.loss = in.Number("loss");
  report.seconds = in.Amount("seconds");
  report.tokens_per_second = in.Amount("tokens_per_second");
  Members phases(in.Object("phases"));
  report.data = phases.Amount("data");
  report.forward = phases.Amount("forward");
  report.backward = phases.Amount("backward");
  report.optimizer = phases.Amount("optimizer");
  report.communication = phases.Amount("communication");
  report.checkpoint = phases.Amount("checkpoint");
  if (!phases.status().ok())
    in.Fail("phases", "data, forward, backward, optimizer, communication, checkpoint");
  report.flops_per_second = in.Amount("flops_per_second");
  report.prediction_loss = in.AmountIfAny("prediction_loss");
  report.peak_flops_per_second = in.AmountIfAny("peak_flops_per_second");
  report.mfu = in.AmountIfAny("mfu");
  report.expert_load = in.Amounts("expert_load", kExpertLoadsMax);
  report.resident_bytes = in.Integer("resident_bytes");
  report.device_memory_bytes = in.IntegerIfAny("device_memory_bytes");
  if (in.Has("celsius")) report.celsius = in.Number("celsius");
  report.watts = in.AmountIfAny("watts");
  report.energy_source = in.Text("energy_source", 16);
  if (report.energy_source != "none" && report.energy_source != "rapl" && report.energy_source != "nvml" &&
      report.energy_source != "declared") {
    in.Fail("energy_source", "none, rapl, nvml or declared");
  }
  report.joules = in.AmountIfAny("joules");
  return report;
}

}  // namespace

absl::StatusOr<TrainerEvent> ParseTrainerEvent(std::string_view line) {
  if (line.size() > kLineBytesMax) return absl::InvalidArgumentError("trainer event: longer than 64 KiB");
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("trainer event: not a JSON object");
  Members in(json);
  const std::string event = in.Text("event", 32);
  TrainerEvent parsed;
  if (event == "started") {
    parsed =
        TrainerStarted{in.Integer("parameters"), in.Integer("active_parameters"), in.Integer("resumed_step")};
  } else if (event == "step") {
    parsed = TrainerStep{in.Integer("step"), in.Integer("steps"), in.Number("loss"), in.Integer("tokens"),
                         in.Number("tokens_per_second")};
  } else if (event == "report") {
    parsed = ReadReport(in);
  } else if (event == "checkpoint") {
    parsed = TrainerCheckpoint{in.Integer("step"), in.Digest("digest")};
  } else if (event == "quality") {
    parsed = ReadQuality(in);
  } else if (event == "finished") {
    parsed = TrainerFinished{in.Integer("step"), in.Digest("digest"), in.Integer("entry"),
                             in.Text("student_dir", kPathBytesMax)};
  } else if (event == "error") {
    parsed = TrainerError{in.Text("code", 64), in.Text("message", kMessageBytesMax)};
  } else if (in.status().ok()) {
    return absl::InvalidArgumentError("trainer event: unknown event '" + event + "'");
  }
  if (!in.status().ok()) return in.status();
  return parsed;
}

}  // namespace retort::jobs
