#include "student/optimizer/expert_bias.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <string>

namespace retort::student {

void UpdateExpertBias(std::span<const std::int64_t> expert_counts, double rate, ParameterSet* parameters) {
  UpdateExpertBias(parameters->layout(), expert_counts, rate, parameters->storage().data());
}

void UpdateExpertBias(const ParameterLayout& layout, std::span<const std::int64_t> expert_counts, double rate,
                      float* parameters) {
  const ModelConfig& config = layout.config();
  const std::int64_t experts = config.experts;
  assert(static_cast<std::int64_t>(expert_counts.size()) == config.moe_layers() * experts);
  for (int i = 0; i < config.moe_layers(); ++i) {
    const int index = layout.Find("model.layers." + std::to_string(config.dense_layers + i) +
                                  ".mlp.gate.e_score_correction_bias");
    float* const bias = parameters + layout.tensors()[index].offset;
    const auto counts = expert_counts.subspan(i * experts, experts);
    const std::int64_t total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    for (std::int64_t e = 0; e < experts; ++e) {
      // Compared in whole numbers: mean - n has the sign of total - experts * n.
      const std::int64_t difference = total - experts * counts[e];
      if (difference > 0) bias[e] += static_cast<float>(rate);
      if (difference < 0) bias[e] -= static_cast<float>(rate);
    }
  }
}

std::vector<double> LoadImbalance(const ModelConfig& config, std::span<const std::int64_t> expert_counts) {
  const std::int64_t experts = config.experts;
  assert(static_cast<std::int64_t>(expert_counts.size()) == config.moe_layers() * experts);
  std::vector<double> imbalance;
  for (int i = 0; i < config.moe_layers(); ++i) {
    const auto counts = expert_counts.subspan(i * experts, experts);
    const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
    const double largest = static_cast<double>(*std::max_element(counts.begin(), counts.end()));
    imbalance.push_back(total == 0 ? 0.0 : largest * static_cast<double>(experts) / total - 1);
  }
  return imbalance;
}

}  // namespace retort::student
