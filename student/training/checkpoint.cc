#include "student/training/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <utility>

#include "student/formats/message.h"
#include "student/formats/safetensors.h"
#include "student/formats/sha256.h"
#include "student/formats/strict_json.h"

namespace retort::student {
namespace {

constexpr char kFormat[] = "retort-training-state/1";
constexpr char kPrefix[] = "checkpoint-";
constexpr char kSuffix[] = ".safetensors";
constexpr char kStateKey[] = "state";
constexpr char kComputedOn[] = "computed_on";
constexpr size_t kComputedOnBytesMax = 128;
constexpr size_t kStateBytesMax = 8 << 20;

std::span<const uint8_t> BytesOf(std::span<const float> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

// SHA-256 of every tensor, by tensor index. Each tensor is hashed by one thread, so the count does not show.
std::vector<Sha256Digest> HashTensors(const ParameterSet& set, ThreadPool& pool) {
  std::vector<Sha256Digest> digests(set.layout().tensors().size());
  pool.Run(static_cast<int64_t>(digests.size()), [&](int64_t i, int) {
    Sha256 hash;
    hash.Update(BytesOf(set.tensor(static_cast<int>(i))));
    digests[static_cast<size_t>(i)] = hash.Finish();
  });
  return digests;
}

// One digest for a whole set of moments: over the tensors' digests, in name order.
std::string MomentDigest(const ParameterSet& set, ThreadPool& pool) {
  const auto digests = HashTensors(set, pool);
  Sha256 hash;
  for (const int i : set.layout().by_name()) {
    if (set.layout().tensors()[i].trained()) hash.Update(digests[i]);
  }
  return HexOf(hash.Finish());
}

struct NamedSet {
  const char* prefix;
  const ParameterSet* set;
};

absl::Status Damaged(const std::string& path, std::string_view what) {
  return absl::DataLossError(Message(path, ": ", what, " is not what the checkpoint's state names"));
}

absl::StatusOr<CheckpointState> ParseState(std::string_view description) {
  const auto json = ParseStrictJson(description, "training state", {kStateBytesMax, 3});
  if (!json.ok()) return json.status();
  std::vector<std::string> members = {
      "data_sha256",     "first_moment", "format",        "loss", "manifest_sha256",   "next_row",
      "previous_digest", "router_bias",  "second_moment", "step", "transcript_sha256", "weights"};
  const bool on_device = json->is_object() && json->contains(kComputedOn);
  if (on_device) members.push_back(kComputedOn);
  if (auto status = JsonHasExactly(*json, members); !status.ok()) return status;
  const auto format = JsonString(*json, "format", 64);
  if (!format.ok()) return format.status();
  if (*format != kFormat) {
    return absl::InvalidArgumentError(
        Message("training state: format ", JsonExcerpt((*json)["format"]), "; wanted ", kFormat));
  }
  CheckpointState state;
  const auto step = JsonInteger(*json, "step", 0, 1'000'000);
  if (!step.ok()) return step.status();
  const auto next_row = JsonInteger(*json, "next_row", 0, int64_t{1} << 52);
  if (!next_row.ok()) return next_row.status();
  state.step = *step;
  state.next_row = *next_row;
  for (const auto& [name, target] :
       {std::pair{"data_sha256", &state.data_sha256}, std::pair{"loss", &state.loss},
        std::pair{"manifest_sha256", &state.manifest_sha256},
        std::pair{"previous_digest", &state.previous_digest},
        std::pair{"transcript_sha256", &state.transcript_sha256}}) {
    auto value = JsonString(*json, name, 64);
    if (!value.ok()) return value.status();
    *target = *std::move(value);
  }
  if (on_device) {
    auto value = JsonString(*json, kComputedOn, kComputedOnBytesMax);
    if (!value.ok()) return value.status();
    if (value->empty())
      return absl::InvalidArgumentError("training state: computed_on: empty; wanted a device");
    state.computed_on = *std::move(value);
  }
  return state;
}

}  // namespace

std::string DescribeState(const CheckpointState& state, const TrainingState& training, ThreadPool& pool) {
  const ParameterSet& weights = training.weights;
  const auto digests = HashTensors(weights, pool);
  auto names = nlohmann::json::object();
  auto biases = nlohmann::json::object();
  for (size_t i = 0; i < digests.size(); ++i) {
    const ParameterInfo& info = weights.layout().tensors()[i];
    if (info.trained()) {
      names[info.name] = HexOf(digests[i]);
    } else {
      biases[info.name] = HexOf(BytesOf(weights.tensor(static_cast<int>(i))));
    }
  }
  nlohmann::json json = {{"format", kFormat},
                         {"step", state.step},
                         {"next_row", state.next_row},
                         {"manifest_sha256", state.manifest_sha256},
                         {"data_sha256", state.data_sha256},
                         {"transcript_sha256", state.transcript_sha256},
                         {"previous_digest", state.previous_digest},
                         {"loss", state.loss},
                         {"weights", names},
                         {"router_bias", biases},
                         {"first_moment", MomentDigest(training.first_moment, pool)},
                         {"second_moment", MomentDigest(training.second_moment, pool)}};
  if (!state.computed_on.empty()) json[kComputedOn] = state.computed_on;
  return json.dump();
}

absl::Status WriteCheckpoint(const std::string& path, std::string_view description,
                             const TrainingState& training) {
  std::map<std::string, SafetensorsTensor, std::less<>> tensors;
  for (const NamedSet& named :
       {NamedSet{"weights/", &training.weights}, NamedSet{"first_moment/", &training.first_moment},
        NamedSet{"second_moment/", &training.second_moment}}) {
    const auto infos = named.set->layout().tensors();
    for (size_t i = 0; i < infos.size(); ++i) {
      if (named.set != &training.weights && !infos[i].trained()) continue;
      tensors[named.prefix + infos[i].name] = {SafetensorsType::kF32, infos[i].shape,
                                               BytesOf(named.set->tensor(static_cast<int>(i)))};
    }
  }
  return WriteSafetensors(path, tensors, {{"format", "pt"}, {kStateKey, std::string(description)}});
}

absl::StatusOr<ReadState> ReadCheckpoint(const std::string& path, ThreadPool& pool, TrainingState& training) {
  const auto file = SafetensorsFile::Open(path);
  if (!file.ok()) return file.status();
  const auto found = file->metadata().find(kStateKey);
  if (found == file->metadata().end()) {
    return absl::InvalidArgumentError(Message(path, ": no state in the metadata"));
  }
  ReadState read;
  read.description = found->second;
  auto state = ParseState(read.description);
  if (!state.ok()) return absl::Status(state.status().code(), Message(path, ": ", state.status().message()));
  read.state = *std::move(state);

  const auto infos = training.weights.layout().tensors();
  size_t wanted = 0;
  for (ParameterSet* set : {&training.weights, &training.first_moment, &training.second_moment}) {
    const char* const prefix = set == &training.weights        ? "weights/"
                               : set == &training.first_moment ? "first_moment/"
                                                               : "second_moment/";
    for (size_t i = 0; i < infos.size(); ++i) {
      if (set != &training.weights && !infos[i].trained()) continue;
      ++wanted;
      if (auto status =
              file->ReadFloats(prefix + infos[i].name, infos[i].shape, set->tensor(static_cast<int>(i)));
          !status.ok()) {
        return absl::InvalidArgumentError(Message(path, ": ", status.message()));
      }
    }
  }
  if (file->tensors().size() != wanted) {
    return absl::InvalidArgumentError(
        Message(path, ": ", file->tensors().size(), " tensors; wanted ", wanted));
  }
  training.steps_taken = read.state.step;
  // Describing what was read must give the state that was stored: that checks every tensor at once, and the
  // form.
  if (DescribeState(read.state, training, pool) != read.description) {
    return Damaged(path, "a tensor or the form of the state");
  }
  read.digest = HexOf(Sha256Of(read.description));
  return read;
}

std::string CheckpointPath(const std::string& folder, int64_t step) {
  const std::string digits = std::to_string(step);
  return Message(folder, "/", kPrefix, std::string(9 - std::min<size_t>(9, digits.size()), '0'), digits,
                 kSuffix);
}

std::vector<std::string> ListCheckpoints(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(folder, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const size_t digits = std::strlen(kPrefix);
    if (name.size() == digits + 9 + std::strlen(kSuffix) && name.starts_with(kPrefix) &&
        name.ends_with(kSuffix) && name.find_first_not_of("0123456789", digits) == digits + 9) {
      paths.push_back(folder + "/" + name);
    }
  }
  std::sort(paths.rbegin(), paths.rend());
  return paths;
}

}  // namespace retort::student
