#include "student/export/hugging_face.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "student/export/config_json.h"
#include "student/formats/atomic_file.h"
#include "student/formats/message.h"
#include "student/formats/safetensors.h"
#include "student/formats/sha256.h"
#include "student/formats/strict_json.h"
#include "student/model/model.h"
#include "student/threads/thread_pool.h"

namespace retort::student {
namespace {

constexpr char kWeightsFile[] = "model.safetensors";
constexpr char kPredictionsFile[] = "mtp.safetensors";
constexpr char kConfigFile[] = "config.json";
constexpr char kStateFile[] = "training_state.json";
constexpr size_t kConfigBytesMax = 1 << 20;
constexpr size_t kStateBytesMax = 8 << 20;
constexpr int kProbeTokens = 64;

std::span<const uint8_t> BytesOf(std::span<const float> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

// Engines differ in how they mask refused groups only where there are groups; elsewhere b stays as it was
// trained.
void ShiftBias(const ModelConfig& config, std::span<float> bias) {
  if (config.expert_groups == 1) return;
  const float least = *std::min_element(bias.begin(), bias.end());
  for (float& b : bias) b -= least;
}

ParameterSet WithShiftedBias(const ParameterSet& weights) {
  ParameterSet shifted = weights.Clone();
  const auto infos = weights.layout().tensors();
  for (size_t i = 0; i < infos.size(); ++i) {
    if (!infos[i].trained()) ShiftBias(weights.config(), shifted.tensor(static_cast<int>(i)));
  }
  return shifted;
}

// The shift is exact in the reals and rounds in fp32. Logits hold no trace of b but the choice of experts, so
// equal logits on a probe batch mean equal choices.
absl::Status CheckRouting(const ParameterSet& trained, const ParameterSet& shifted) {
  const ModelConfig& config = trained.config();
  if (config.expert_groups == 1) return absl::OkStatus();
  std::vector<int32_t> tokens, rows;
  for (int i = 0; i < std::min(kProbeTokens, config.context); ++i) {
    tokens.push_back(static_cast<int32_t>((int64_t{i} * 7919 + 13) % config.vocabulary));
    rows.push_back(i);
  }
  ThreadPool pool(1);
  Model model(config, pool);
  const auto changed = absl::InternalError(
      "export: the shifted router bias changes the experts of a probe batch; not exported");
  if (model.ForwardLogits(shifted, tokens, rows) != model.ForwardLogits(trained, tokens, rows))
    return changed;
  if (config.prediction_layers == 0) return absl::OkStatus();
  // Of multi-token prediction only the loss can be seen; it is as much a function of the choice.
  const PackedBatch probe = {.tokens = tokens,
                             .positions = rows,
                             .document_starts = {0, static_cast<int32_t>(tokens.size())},
                             .targets = tokens,
                             .weights = std::vector<float>(tokens.size(), 1.0f)};
  Gradients unused(model.layout());
  const auto predict = [&](const ParameterSet& weights) {
    const BatchResult result = model.AccumulateGradients(weights, probe, {}, 1, &unused);
    return std::pair(result.prediction_ce_sum, result.expert_counts);
  };
  return predict(shifted) == predict(trained) ? absl::OkStatus() : changed;
}

// The layers of multi-token prediction, from num_hidden_layers on. Engines that look for them want the
// embedding and the head beside each: copies of the student's own.
bool IsOfPrediction(std::string_view tensor, const ModelConfig& config) {
  for (int k = 0; k < config.prediction_layers; ++k) {
    if (tensor.starts_with(Message("model.layers.", config.layers + k, "."))) return true;
  }
  return false;
}
// Name of each copy, and of what it is of.
std::map<std::string, std::string, std::less<>> PredictionCopies(const ModelConfig& config) {
  const std::string embedding = "model.embed_tokens.weight";
  std::map<std::string, std::string, std::less<>> copies;
  for (int k = 0; k < config.prediction_layers; ++k) {
    const std::string layer = Message("model.layers.", config.layers + k);
    copies[layer + ".embed_tokens.weight"] = embedding;
    copies[layer + ".shared_head.head.weight"] = config.tied_embeddings ? embedding : "lm_head.weight";
  }
  return copies;
}

absl::StatusOr<std::string> ReadMember(const std::string& folder, const char* name, uint64_t bytes_max) {
  return ReadWholeFile(folder + "/" + name, bytes_max);
}

absl::StatusOr<ModelConfig> ReadConfig(const std::string& folder) {
  const auto text = ReadMember(folder, kConfigFile, kConfigBytesMax);
  if (!text.ok()) return text.status();
  auto config = ParseConfigJson(*text);
  if (!config.ok())
    return absl::Status(config.status().code(), Message(folder, ": ", config.status().message()));
  return config;
}

absl::Status Differs(const std::string& path, std::string_view what) {
  return absl::DataLossError(Message(path, ": ", what, " is not the one of the checkpoint"));
}

// Hex bits of the trained bias in the state, shifted as the export shifts them.
absl::StatusOr<std::vector<float>> BiasFromState(const nlohmann::json& hex, const ModelConfig& config) {
  const auto bad = absl::InvalidArgumentError(Message(kStateFile, ": router_bias: ", JsonExcerpt(hex),
                                                      "; wanted ", config.experts, " fp32 values in hex"));
  if (!hex.is_string()) return bad;
  const auto& text = hex.get_ref<const std::string&>();
  if (text.size() != static_cast<size_t>(config.experts) * 8 ||
      text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return bad;
  }
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  std::vector<float> bias(static_cast<size_t>(config.experts));
  std::memcpy(bias.data(), bytes.data(), bytes.size());
  ShiftBias(config, bias);
  return bias;
}

// Whether a tensor's bytes are those that the state names under `of`.
absl::Status VerifyTensor(const std::string& path, std::string_view name, const SafetensorsTensor& tensor,
                          std::string_view of, const nlohmann::json& digests, const nlohmann::json& biases,
                          const ModelConfig& config) {
  if (tensor.type != SafetensorsType::kF32) return Differs(path, name);
  if (const auto bias = biases.find(of); bias != biases.end()) {
    const auto wanted = BiasFromState(*bias, config);
    if (!wanted.ok()) return wanted.status();
    const auto bytes = BytesOf(*wanted);
    if (!std::equal(bytes.begin(), bytes.end(), tensor.data.begin(), tensor.data.end()))
      return Differs(path, name);
    return absl::OkStatus();
  }
  Sha256 hash;
  hash.Update(tensor.data);
  const auto digest = digests.find(of);
  if (digest == digests.end() || *digest != HexOf(hash.Finish())) return Differs(path, name);
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteStudent(const std::string& folder, const ParameterSet& weights, const Tokenizer& tokenizer,
                          std::string_view state) {
  const ModelConfig& config = weights.config();
  if (tokenizer.vocabulary_size() > config.vocabulary) {
    return absl::InvalidArgumentError(Message("export: the tokenizer has ", tokenizer.vocabulary_size(),
                                              " tokens; wanted at most ", config.vocabulary));
  }
  const ParameterSet shifted = WithShiftedBias(weights);
  if (auto status = CheckRouting(weights, shifted); !status.ok()) return status;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return absl::UnavailableError(Message(folder, ": cannot make the folder (", error.message(), ")"));

  const SpecialTokens special{tokenizer.bos().value_or(-1), tokenizer.eos().value_or(-1),
                              tokenizer.padding().value_or(-1)};
  std::map<std::string, SafetensorsTensor, std::less<>> tensors, predictions;
  const auto infos = shifted.layout().tensors();
  for (size_t i = 0; i < infos.size(); ++i) {
    (IsOfPrediction(infos[i].name, config) ? predictions : tensors)[infos[i].name] = {
        SafetensorsType::kF32, infos[i].shape, BytesOf(shifted.tensor(static_cast<int>(i)))};
  }
  for (const auto& [name, of] : PredictionCopies(config)) predictions[name] = tensors.at(of);
  std::map<std::string, std::string, std::less<>> metadata = {{"format", "pt"}};
  if (!state.empty()) metadata["retort.checkpoint_digest"] = HexOf(Sha256Of(state));
  if (auto s = WriteSafetensors(folder + "/" + kWeightsFile, tensors, metadata); !s.ok()) return s;
  if (predictions.empty()) {
    std::filesystem::remove(folder + "/" + kPredictionsFile, error);  // of an earlier student
  } else if (auto s = WriteSafetensors(folder + "/" + kPredictionsFile, predictions, metadata); !s.ok()) {
    return s;
  }
  if (auto s = WriteFileAtomically(folder + "/" + kConfigFile, ConfigJson(config, special)); !s.ok())
    return s;
  if (auto s = WriteFileAtomically(folder + "/generation_config.json", GenerationConfigJson(special));
      !s.ok())
    return s;
  if (!state.empty()) {
    if (auto s = WriteFileAtomically(folder + "/" + kStateFile, state); !s.ok()) return s;
  }
  return tokenizer.WriteHuggingFace(folder);
}

absl::StatusOr<ParameterSet> ReadStudent(const std::string& folder) {
  auto config = ReadConfig(folder);
  if (!config.ok()) return config.status();
  config->prediction_layers = 0;
  const auto file = SafetensorsFile::Open(folder + "/" + kWeightsFile);
  if (!file.ok()) return file.status();
  const auto refuse = [&](const absl::Status& status) {
    return absl::Status(status.code(), Message(folder, "/", kWeightsFile, ": ", status.message()));
  };
  uint64_t data_bytes = 0;
  for (const auto& [name, tensor] : file->tensors()) data_bytes += tensor.data.size();
  const auto parameters = static_cast<uint64_t>(CountParameters(*config).total);
  if (parameters > data_bytes) {  // before anything is allocated: no type takes less than a byte
    return refuse(absl::InvalidArgumentError(
        Message(data_bytes, " bytes of tensors; wanted ", parameters, " parameters, as config.json says")));
  }
  ParameterSet weights(ParameterLayout::Create(*config));
  const auto infos = weights.layout().tensors();
  for (size_t i = 0; i < infos.size(); ++i) {
    const auto target = weights.tensor(static_cast<int>(i));
    if (auto s = file->ReadFloats(infos[i].name, infos[i].shape, target); !s.ok()) return refuse(s);
    if (std::any_of(target.begin(), target.end(), [](float value) { return !std::isfinite(value); })) {
      return refuse(absl::InvalidArgumentError(Message(infos[i].name, ": not finite; wanted finite values")));
    }
  }
  for (const auto& [name, tensor] : file->tensors()) {
    if (weights.layout().Find(name) < 0) {
      return refuse(absl::InvalidArgumentError(
          Message("a tensor that config.json does not give: ", JsonExcerpt(nlohmann::json(name)))));
    }
  }
  return weights;
}

absl::Status VerifyStudent(const std::string& folder, std::string_view checkpoint_digest) {
  const auto state = ReadMember(folder, kStateFile, kStateBytesMax);
  if (!state.ok()) return state.status();
  if (const std::string digest = HexOf(Sha256Of(*state)); digest != checkpoint_digest) {
    return absl::DataLossError(Message(folder, "/", kStateFile, ": its digest is ", digest, "; wanted ",
                                       checkpoint_digest.substr(0, 64)));
  }
  const auto json = ParseStrictJson(*state, kStateFile, {kStateBytesMax, 3});
  if (!json.ok()) return json.status();
  if (!json->is_object() || !json->contains("weights") || !(*json)["weights"].is_object() ||
      !json->contains("router_bias") || !(*json)["router_bias"].is_object()) {
    return absl::InvalidArgumentError(Message(kStateFile, ": no weights or router_bias; wanted both"));
  }
  const auto config = ReadConfig(folder);
  if (!config.ok()) return config.status();
  const nlohmann::json& digests = (*json)["weights"];
  const nlohmann::json& biases = (*json)["router_bias"];
  const auto copies = PredictionCopies(*config);
  size_t found = 0;
  for (const char* name : {kWeightsFile, kPredictionsFile}) {
    const bool predictions = name == kPredictionsFile;
    if (predictions && config->prediction_layers == 0) continue;
    const std::string path = folder + "/" + name;
    const auto file = SafetensorsFile::Open(path);
    if (!file.ok()) return file.status();
    size_t copied = 0;
    for (const auto& [tensor_name, tensor] : file->tensors()) {
      std::string_view of = tensor_name;
      if (const auto copy = copies.find(tensor_name); predictions && copy != copies.end()) {
        of = copy->second;
        ++copied;
      } else if (IsOfPrediction(tensor_name, *config) != predictions) {
        return Differs(path, tensor_name);
      }
      if (auto s = VerifyTensor(path, tensor_name, tensor, of, digests, biases, *config); !s.ok()) return s;
    }
    if (predictions && copied != copies.size()) return Differs(path, "the copies of embedding and head");
    found += file->tensors().size() - copied;
  }
  if (found != digests.size() + biases.size()) {
    return Differs(folder, Message("the set of ", found, " tensors"));
  }
  return absl::OkStatus();
}

}  // namespace retort::student
