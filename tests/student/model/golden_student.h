// The tiny student of the golden files, its weights, tokens and teachers, all from one hash that
// tests/student/golden/make_deepseek_golden.py and make_prediction_golden.py have too.
#ifndef TESTS_STUDENT_MODEL_GOLDEN_STUDENT_H_
#define TESTS_STUDENT_MODEL_GOLDEN_STUDENT_H_

#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "student/model/config.h"
#include "student/model/packed_batch.h"
#include "student/model/parameters.h"

namespace retort::student {

inline ModelConfig GoldenConfig() {
  ModelConfig config;
  config.vocabulary = 64;
  config.hidden = 32;
  config.layers = 3;
  config.dense_layers = 1;
  config.heads = 2;
  config.nope_head_dim = 32;
  config.rope_head_dim = 8;
  config.value_head_dim = 16;
  config.query_rank = 32;
  config.kv_rank = 32;
  config.dense_width = 64;
  config.expert_width = 32;
  config.experts = 8;
  config.experts_per_token = 3;
  config.shared_experts = 1;
  config.expert_groups = 4;
  config.expert_groups_per_token = 2;
  config.routed_scaling = 2.5f;
  config.tied_embeddings = false;
  config.context = 64;
  return config;
}

// In [-0.5, 0.5), exact.
inline std::vector<float> Uniform(std::string_view name, std::size_t count) {
  std::uint32_t hash = 0x811c9dc5;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193u;
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t x = (hash ^ (static_cast<std::uint32_t>(i) * 0x9e3779b1u)) * 0x85ebca6bu;
    x = (x ^ (x >> 13)) * 0xc2b2ae35u;
    values[i] = static_cast<float>(static_cast<double>(x >> 8) / 16777216.0 - 0.5);
  }
  return values;
}

inline ParameterSet GoldenParameters(const std::shared_ptr<const ParameterLayout>& layout) {
  ParameterSet parameters(layout);
  for (std::size_t i = 0; i < layout->tensors().size(); ++i) {
    const ParameterInfo& info = layout->tensors()[i];
    const std::span<float> values = parameters.tensor(static_cast<int>(i));
    const std::vector<float> uniform = Uniform(info.name, values.size());
    for (std::size_t j = 0; j < values.size(); ++j) {
      values[j] = info.kind == ParameterKind::kNorm    ? 1 + uniform[j] * 0.5f
                  : info.kind == ParameterKind::kState ? (uniform[j] + 0.5f) * 0.25f
                                                       : uniform[j] * 0.5f;
    }
  }
  return parameters;
}

inline PackedBatch GoldenBatch(const ModelConfig& config) {
  PackedBatch batch;
  batch.teacher_k = 4;
  batch.document_starts = {0};
  int document = 0;
  for (const int length : {19, 12}) {
    const auto ids = [&](const char* what) {
      std::vector<std::int32_t> result;
      for (const float u : Uniform(std::string(what) + "." + std::to_string(document), length)) {
        result.push_back(static_cast<std::int32_t>((u + 0.5) * config.vocabulary));
      }
      return result;
    };
    const auto tokens = ids("tokens"), targets = ids("targets"), base = ids("teacher");
    for (int t = 0; t < length; ++t) {
      batch.tokens.push_back(tokens[t]);
      batch.targets.push_back(targets[t]);
      batch.positions.push_back(t);
      batch.weights.push_back(1.0f);
      batch.teacher_counts.push_back(4);
      for (int k = 0; k < 4; ++k) {
        batch.teacher_ids.push_back((base[t] + 7 * k) % config.vocabulary);
        batch.teacher_logprobs.push_back(static_cast<float>(std::log(std::pow(0.5, k + 1))));
      }
      batch.teacher_tail_logprobs.push_back(static_cast<float>(std::log(std::pow(0.5, 4))));
    }
    batch.document_starts.push_back(static_cast<std::int32_t>(batch.tokens.size()));
    ++document;
  }
  return batch;
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_MODEL_GOLDEN_STUDENT_H_
