// Students with weights that anybody can make again: used for golden files and for tests of the export.
#ifndef TESTS_STUDENT_EXPORT_GOLDEN_STUDENTS_H_
#define TESTS_STUDENT_EXPORT_GOLDEN_STUDENTS_H_

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "student/model/config.h"
#include "student/model/parameters.h"
#include "student/training/row_stream.h"

namespace retort::student {

struct GoldenStudent {
  std::string name;
  ModelConfig config;
};

// The shape with groups of experts; the demo's shape; and one with an untied head, no query compression and
// two kept groups. The vocabulary is small, so that golden logits are.
inline std::vector<GoldenStudent> GoldenStudents() {
  ModelConfig unit = UnitConfig();
  ModelConfig nano = NanoConfig();
  nano.vocabulary = 768;
  ModelConfig untied = UnitConfig();
  untied.tied_embeddings = false;
  untied.query_rank = 0;
  untied.routed_scaling = 2.5f;
  untied.rope_theta = 50000;
  return {{"unit", unit}, {"nano", nano}, {"untied", untied}};
}

// Initial weights made four times larger, gains around 1 and router biases around 0 (some negative), so that
// every part of the model shows in the logits.
inline ParameterSet GoldenWeights(const ModelConfig& config) {
  ParameterSet weights(ParameterLayout::Create(config));
  InitializeParameters(20260801, &weights);
  const auto infos = weights.layout().tensors();
  for (size_t t = 0; t < infos.size(); ++t) {
    auto values = weights.tensor(static_cast<int>(t));
    for (size_t i = 0; i < values.size(); ++i) {
      const float wave = std::sin(static_cast<float>(3 * i + t));
      if (infos[t].kind == ParameterKind::kNorm) values[i] = 1.0f + 0.25f * wave;
      if (infos[t].kind == ParameterKind::kState) values[i] = 0.125f * std::round(4.0f * wave);
      if (infos[t].kind == ParameterKind::kMatrix || infos[t].kind == ParameterKind::kEmbedding)
        values[i] *= 4.0f;
    }
  }
  return weights;
}

inline std::vector<int32_t> GoldenIds(const ModelConfig& config, int count) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) {
    ids.push_back(static_cast<int32_t>(CounterRandom(5, 0, 0, static_cast<uint64_t>(i)) % config.vocabulary));
  }
  return ids;
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_EXPORT_GOLDEN_STUDENTS_H_
