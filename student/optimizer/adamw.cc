#include "student/optimizer/adamw.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>
#include <vector>

#include "student/ops/row_kernels.h"

namespace retort::student {
namespace {

constexpr std::int64_t kLeaf = 4096;              // values of one leaf of the tree, summed in fp64
constexpr std::int64_t kValuesPerTask = 1 << 16;  // of one tensor; a multiple of kLeaf

struct Piece {
  int tensor;
  std::int64_t first, count;
};

// All trained tensors in pieces of at most kValuesPerTask, tensors in the order given.
std::vector<Piece> CutTrained(const ParameterLayout& layout, std::span<const int> order) {
  std::vector<Piece> pieces;
  for (const int tensor : order) {
    const ParameterInfo& info = layout.tensors()[tensor];
    if (!info.trained()) continue;
    for (std::int64_t first = 0; first < info.size; first += kValuesPerTask) {
      pieces.push_back({tensor, first, std::min(kValuesPerTask, info.size - first)});
    }
  }
  return pieces;
}

// Sum of neighbours, then of neighbours' sums, and so on.
double TreeSum(std::vector<double>* leaves) {
  if (leaves->empty()) return 0;
  for (std::size_t count = leaves->size(); count > 1; count = (count + 1) / 2) {
    for (std::size_t i = 0; i < count / 2; ++i) (*leaves)[i] = (*leaves)[2 * i] + (*leaves)[2 * i + 1];
    if (count % 2 == 1) (*leaves)[count / 2] = (*leaves)[count - 1];
  }
  return leaves->front();
}

}  // namespace

AdamWPlan PlanAdamW(const ParameterLayout& layout) {
  AdamWPlan plan;
  plan.tensor_leaves.push_back(0);
  for (const int tensor : layout.by_name()) {
    const ParameterInfo& info = layout.tensors()[tensor];
    if (!info.trained()) continue;
    for (std::int64_t first = 0; first < info.size; first += kLeaf) {
      plan.leaves.push_back({info.offset + first,
                             static_cast<std::int32_t>(std::min(kLeaf, info.size - first)),
                             info.decays() ? 1 : 0});
    }
    plan.tensor_leaves.push_back(static_cast<std::int32_t>(plan.leaves.size()));
  }
  return plan;
}

double GlobalNorm(const Gradients& gradients, ThreadPool& pool) {
  return GlobalNorm(gradients.layout(), gradients.storage().data(), pool);
}

double GlobalNorm(const ParameterLayout& layout, const float* gradients, ThreadPool& pool) {
  const std::vector<Piece> pieces = CutTrained(layout, layout.by_name());
  std::vector<std::int64_t> first_leaf(pieces.size() + 1, 0);
  for (std::size_t i = 0; i < pieces.size(); ++i)
    first_leaf[i + 1] = first_leaf[i] + (pieces[i].count + kLeaf - 1) / kLeaf;
  std::vector<double> leaves(first_leaf.back());
  pool.Run(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i, int) {
    const float* values = gradients + layout.tensors()[pieces[i].tensor].offset + pieces[i].first;
    for (std::int64_t first = 0, leaf = first_leaf[i]; first < pieces[i].count; first += kLeaf, ++leaf) {
      // Eight sums side by side, so that one addition need not wait for the last; added up in order.
      double sums[8] = {};
      for (std::int64_t j = first; j < std::min(first + kLeaf, pieces[i].count); ++j) {
        sums[j % 8] += static_cast<double>(values[j]) * values[j];
      }
      double sum = 0;
      for (const double part : sums) sum += part;
      leaves[leaf] = sum;
    }
  });
  double total = 0;
  for (std::size_t i = 0; i < pieces.size();) {
    std::vector<double> tensor;
    const int index = pieces[i].tensor;
    for (; i < pieces.size() && pieces[i].tensor == index; ++i) {
      tensor.insert(tensor.end(), leaves.begin() + first_leaf[i], leaves.begin() + first_leaf[i + 1]);
    }
    total += TreeSum(&tensor);
  }
  return std::sqrt(total);
}

AdamW::AdamW(std::shared_ptr<const ParameterLayout> layout, const AdamWOptions& options, ThreadPool& pool,
             Isa isa)
    : options_(options), pool_(pool), isa_(isa), first_moment_(layout), second_moment_(layout) {
  assert(IsaSupported(isa));
}

double AdamW::Step(ParameterSet* parameters, const Gradients& gradients, double learning_rate) {
  const ParameterLayout& layout = first_moment_.layout();
  assert(&parameters->layout() == &layout && &gradients.layout() == &layout);
  const double norm = GlobalNorm(gradients, pool_);
  if (!std::isfinite(norm)) return norm;
  StepAdamW(options_, layout, gradients.storage().data(), norm, learning_rate, steps_taken_,
            parameters->storage().data(), first_moment_.storage().data(), second_moment_.storage().data(),
            pool_, isa_);
  ++steps_taken_;
  return norm;
}

void StepAdamW(const AdamWOptions& options, const ParameterLayout& layout, const float* gradients,
               double norm, double learning_rate, std::int64_t steps_taken, float* parameters,
               float* first_moment, float* second_moment, ThreadPool& pool, Isa isa) {
  const double steps = static_cast<double>(steps_taken + 1);
  const double scale = options.clip_norm > 0 && norm > options.clip_norm ? options.clip_norm / norm : 1.0;
  const double correction1 = 1 - std::pow(options.beta1, steps),
               correction2 = 1 - std::pow(options.beta2, steps);
  std::vector<int> order(layout.tensors().size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  const std::vector<Piece> pieces = CutTrained(layout, order);
  const RowKernels& kernels = RowKernelsOf(isa);
  pool.Run(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i, int) {
    const auto [tensor, first, count] = pieces[i];
    const ParameterInfo& info = layout.tensors()[tensor];
    const AdamWCoefficients coefficients = {
        .beta1 = static_cast<float>(options.beta1),
        .beta2 = static_cast<float>(options.beta2),
        .gradient_scale = static_cast<float>(scale),
        .step = static_cast<float>(learning_rate / correction1),
        .root_correction = static_cast<float>(1 / std::sqrt(correction2)),
        .epsilon = static_cast<float>(options.epsilon),
        .decay = info.decays() ? static_cast<float>(learning_rate * options.weight_decay) : 0.0f};
    const std::int64_t at = info.offset + first;
    kernels.adamw(coefficients, gradients + at, static_cast<int>(count), parameters + at, first_moment + at,
                  second_moment + at);
  });
}

}  // namespace retort::student
