// Balancing experts without an auxiliary loss (Wang et al., arXiv 2408.15664): after each optimiser step the
// selection bias of every overloaded expert goes down by a fixed amount and that of every underloaded one
// goes up.
#ifndef STUDENT_OPTIMIZER_EXPERT_BIAS_H_
#define STUDENT_OPTIMIZER_EXPERT_BIAS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "student/device/device_types.h"
#include "student/model/parameters.h"
#include "student/optimizer/adamw.h"

namespace retort::student {

// b_e += rate * sign(mean(n) - n_e) in every MoE layer. expert_counts [moe_layers, experts] are the loads of
// the whole optimiser step: add up BatchResult::expert_counts over its micro-batches. Exactly balanced
// experts are left alone.
void UpdateExpertBias(std::span<const std::int64_t> expert_counts, double rate, ParameterSet* parameters);

// The same over a storage of a layout.
void UpdateExpertBias(const ParameterLayout& layout, std::span<const std::int64_t> expert_counts, double rate,
                      float* parameters);

// The device twin for one layer: loads [experts] and bias [experts] in device memory. Takes the rate from
// step->expert_bias_rate and does nothing when step->applied is 0: call it after StepAdamW.
void UpdateExpertBias(Stream stream, const std::int64_t* loads, int experts, const AdamWStep* step,
                      float* bias);

// Per MoE layer max_e n_e / mean(n) - 1: 0 = perfectly balanced. 0 for a layer that saw no token.
std::vector<double> LoadImbalance(const ModelConfig& config, std::span<const std::int64_t> expert_counts);

}  // namespace retort::student

#endif  // STUDENT_OPTIMIZER_EXPERT_BIAS_H_
