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
