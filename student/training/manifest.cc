#include "student/training/manifest.h"

#include <array>
#include <cassert>
#include <span>
#include <vector>

#include "student/formats/message.h"
#include "student/formats/sha256.h"
#include "student/formats/strict_json.h"
#include "student/model/config.h"
#include "student/training/decimal.h"

namespace retort::student {
namespace {

constexpr char kFormat[] = "retort-training-manifest/1";
constexpr uint64_t kSeedMax =
    (uint64_t{1} << 53) - 1;  // the largest integer that every JSON reader keeps exactly

struct IntegerMember {
  const char* name;
  int64_t TrainingManifest::*member;
  int64_t low, high;
};
// The last one only where there are modules of multi-token prediction; so below.
constexpr std::array<IntegerMember, 7> kIntegers = {{
    {"batch_tokens", &TrainingManifest::batch_tokens, 64, 1'048'576},
    {"checkpoint_every", &TrainingManifest::checkpoint_every, 1, 1'000'000},
    {"sequence_length", &TrainingManifest::sequence_length, 64, 8192},
    {"steps", &TrainingManifest::steps, 1, 1'000'000},
    {"vocabulary_size", &TrainingManifest::vocabulary_size, 2, 1'048'576},
    {"warmup_steps", &TrainingManifest::warmup_steps, 0, 1'000'000},
    {"prediction_layers", &TrainingManifest::prediction_layers, 1, kPredictionLayersMax},
}};
std::span<const IntegerMember> Integers(bool predicts) {
  return std::span(kIntegers).first(kIntegers.size() - (predicts ? 0 : 1));
}

struct DecimalMember {
  const char* name;
  double TrainingManifest::*member;
  double low, high;
};
constexpr double kBelowOne = 0.9999999;
constexpr std::array<DecimalMember, 11> kDecimals = {{
    {"balance_loss_weight", &TrainingManifest::balance_loss_weight, 0, 1},
    {"beta1", &TrainingManifest::beta1, 0, kBelowOne},
    {"beta2", &TrainingManifest::beta2, 0, kBelowOne},
    {"bias_update_rate", &TrainingManifest::bias_update_rate, 0, 1},
    {"clip_norm", &TrainingManifest::clip_norm, 1e-3, 1000},
    {"cross_entropy_weight", &TrainingManifest::cross_entropy_weight, 0, 1},
    {"epsilon", &TrainingManifest::epsilon, 1e-12, 1e-2},
    {"final_rate_fraction", &TrainingManifest::final_rate_fraction, 0, 1},
    {"learning_rate", &TrainingManifest::learning_rate, 1e-8, 1},
    {"weight_decay", &TrainingManifest::weight_decay, 0, 1},
    {"prediction_loss_weight", &TrainingManifest::prediction_loss_weight, 1e-3, 1},
}};
std::span<const DecimalMember> Decimals(bool predicts) {
  return std::span(kDecimals).first(kDecimals.size() - (predicts ? 0 : 1));
}

absl::Status Refuse(std::string_view member, std::string_view seen, std::string_view wanted) {
  return absl::InvalidArgumentError(Message("training manifest: ", member, ": ", seen, "; wanted ", wanted));
}

bool IsSha256Hex(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool IsStudentName(std::string_view name) {
  static constexpr std::string_view kAlphanumeric =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  if (name.empty() || name.size() > 96 || kAlphanumeric.find(name[0]) == std::string_view::npos) return false;
  for (const char c : name) {
    if (kAlphanumeric.find(c) == std::string_view::npos && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

std::string Shown(std::string_view text) {
  return JsonExcerpt(nlohmann::json(std::string(text.substr(0, 256))));
}

// A decimal that is smaller than any bound would not survive the trip through text, nor be of use.
bool Representable(double value) {
  return value == 0 || value >= 1e-100;
}

}  // namespace

absl::Status TrainingManifest::Validate() const {
  const bool predicts = prediction_layers != 0;
  if (!predicts && prediction_loss_weight != 0) {
    return Refuse("prediction_loss_weight", Message(prediction_loss_weight),
                  "0, since prediction_layers is 0");
  }
  if (run != "logits" && run != "text_only") return Refuse("run", Shown(run), "logits or text_only");
  if (!IsStudentName(student)) return Refuse("student", Shown(student), "[A-Za-z0-9][A-Za-z0-9._-]{0,95}");
  if (shape != "unit" && shape != "nano" && shape != "small") {
    return Refuse("shape", Shown(shape), "unit, nano or small");
  }
  if (!IsSha256Hex(tokenizer_sha256)) {
    return Refuse("tokenizer_sha256", Shown(tokenizer_sha256), "64 lower-case hex digits");
  }
  for (const IntegerMember& row : Integers(predicts)) {
    const int64_t value = this->*row.member;
    if (value < row.low || value > row.high) {
      return Refuse(row.name, Message(value), Message(row.low, " to ", row.high));
    }
  }
  for (const DecimalMember& row : Decimals(predicts)) {
    const double value = this->*row.member;
    if (!(value >= row.low && value <= row.high) || !Representable(value)) {
      return Refuse(row.name, Message(value), Message(row.low, " to ", row.high));
    }
  }
  if (seed > kSeedMax) return Refuse("seed", Message(seed), Message("0 to ", kSeedMax));
  if (batch_tokens % sequence_length != 0) {
    return Refuse("batch_tokens", Message(batch_tokens),
                  Message("a multiple of sequence_length ", sequence_length));
  }
  if (warmup_steps > steps) {
    return Refuse("warmup_steps", Message(warmup_steps), Message("at most steps, ", steps));
  }
  if (checkpoint_every > steps) {
    return Refuse("checkpoint_every", Message(checkpoint_every), Message("at most steps, ", steps));
  }
  if (run == "text_only" && cross_entropy_weight != 1) {
    return Refuse("cross_entropy_weight", Message(cross_entropy_weight), "1, since the run is text_only");
  }
  return absl::OkStatus();
}

std::string TrainingManifest::ToJson() const {
  assert(Validate().ok());
  nlohmann::json json = {{"format", kFormat}, {"run", run},         {"seed", seed},
                         {"shape", shape},    {"student", student}, {"tokenizer_sha256", tokenizer_sha256}};
  const bool predicts = prediction_layers != 0;
  for (const IntegerMember& row : Integers(predicts)) json[row.name] = this->*row.member;
  for (const DecimalMember& row : Decimals(predicts)) json[row.name] = DecimalString(this->*row.member);
  return json.dump();  // members sorted by byte, no white space; every string here is ASCII
}

std::string TrainingManifest::Digest() const {
  return HexOf(Sha256Of(ToJson()));
}

absl::StatusOr<TrainingManifest> TrainingManifest::Parse(std::string_view text) {
  const auto json = ParseStrictJson(text, "training manifest", {kManifestBytesMax, 2});
  if (!json.ok()) return json.status();
  std::vector<std::string> names = {"format", "run", "seed", "shape", "student", "tokenizer_sha256"};
  const bool predicts = json->is_object() && json->contains("prediction_layers");
  for (const IntegerMember& row : Integers(predicts)) names.emplace_back(row.name);
  for (const DecimalMember& row : Decimals(predicts)) names.emplace_back(row.name);
  const auto refuse = [](const absl::Status& status) {
    return absl::InvalidArgumentError(Message("training manifest: ", status.message()));
  };
  if (auto status = JsonHasExactly(*json, names); !status.ok()) return refuse(status);
  TrainingManifest manifest;
  std::string format;
  for (const auto& [name, target] :
       {std::pair{"format", &format}, std::pair{"run", &manifest.run}, std::pair{"shape", &manifest.shape},
        std::pair{"student", &manifest.student}, std::pair{"tokenizer_sha256", &manifest.tokenizer_sha256}}) {
    auto value = JsonString(*json, name, 256);
    if (!value.ok()) return refuse(value.status());
    *target = *std::move(value);
  }
  if (format != kFormat) return Refuse("format", Shown(format), kFormat);
  for (const IntegerMember& row : Integers(predicts)) {
    const auto value = JsonInteger(*json, row.name, row.low, row.high);
    if (!value.ok()) return refuse(value.status());
    manifest.*row.member = *value;
  }
  const auto seed = JsonInteger(*json, "seed", 0, static_cast<int64_t>(kSeedMax));
  if (!seed.ok()) return refuse(seed.status());
  manifest.seed = static_cast<uint64_t>(*seed);
  for (const DecimalMember& row : Decimals(predicts)) {
    const auto decimal = JsonString(*json, row.name, 128);
    if (!decimal.ok()) return refuse(decimal.status());
    const auto value = ParseDecimalString(*decimal);
    if (!value) return Refuse(row.name, Shown(*decimal), "a decimal in shortest form, such as \"0.001\"");
    manifest.*row.member = *value;
  }
  if (auto status = manifest.Validate(); !status.ok()) return status;
  if (manifest.ToJson() != text) {
    return Refuse("bytes", "not the canonical form", "sorted members, no white space, no escapes");
  }
  return manifest;
}

}  // namespace retort::student
