#include "student/parallel/adamw_parts.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "student/ops/row_kernels.h"

namespace retort::student {
namespace {

constexpr std::int64_t kLeaf = 4096;
constexpr std::int64_t kValuesPerTask = 1 << 16;  // a multiple of kLeaf

// Values of one tensor within one part.
struct Piece {
  const ParameterInfo* tensor;
  std::int64_t begin, count;  // of the storage
  std::int64_t packed;        // where the moments of `begin` lie
};

std::vector<Piece> CutTrained(const ParameterLayout& layout, std::span<const Part> parts) {
  std::vector<Piece> pieces;
  std::int64_t packed = 0;
  for (const Part& part : parts) {
    for (const ParameterInfo& tensor : layout.tensors()) {
      const std::int64_t begin = std::max(part.begin, tensor.offset);
      const std::int64_t end = std::min(part.end, tensor.offset + tensor.size);
      if (!tensor.trained()) continue;
      for (std::int64_t at = begin; at < end; at += kValuesPerTask) {
        pieces.push_back({&tensor, at, std::min(kValuesPerTask, end - at), packed + at - part.begin});
      }
    }
    packed += part.size();
  }
  return pieces;
}

}  // namespace

double SquaredNorm(const ParameterLayout& layout, const float* gradients, std::span<const Part> parts,
                   ThreadPool& pool) {
  const std::vector<Piece> pieces = CutTrained(layout, parts);
  std::vector<double> sums(pieces.size());
  pool.Run(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i, int) {
    const float* const values = gradients + pieces[i].begin;
    double total = 0;
    for (std::int64_t first = 0; first < pieces[i].count; first += kLeaf) {
      // Eight sums side by side, so that one addition need not wait for the last; added up in order.
      double lanes[8] = {};
      for (std::int64_t j = first; j < std::min(first + kLeaf, pieces[i].count); ++j) {
        lanes[j % 8] += static_cast<double>(values[j]) * values[j];
      }
      for (const double lane : lanes) total += lane;
    }
    sums[i] = total;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

void StepAdamW(const AdamWOptions& options, const ParameterLayout& layout, std::span<const Part> parts,
               const float* gradients, double norm, double learning_rate, std::int64_t steps_taken,
               float* parameters, float* packed_first_moment, float* packed_second_moment, ThreadPool& pool,
               Isa isa) {
  const double steps = static_cast<double>(steps_taken + 1);
  const double scale = options.clip_norm > 0 && norm > options.clip_norm ? options.clip_norm / norm : 1.0;
  const double correction1 = 1 - std::pow(options.beta1, steps),
               correction2 = 1 - std::pow(options.beta2, steps);
  const std::vector<Piece> pieces = CutTrained(layout, parts);
  const RowKernels& kernels = RowKernelsOf(isa);
  pool.Run(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t i, int) {
    const Piece& piece = pieces[i];
    const AdamWCoefficients coefficients = {
        .beta1 = static_cast<float>(options.beta1),
        .beta2 = static_cast<float>(options.beta2),
        .gradient_scale = static_cast<float>(scale),
        .step = static_cast<float>(learning_rate / correction1),
        .root_correction = static_cast<float>(1 / std::sqrt(correction2)),
        .epsilon = static_cast<float>(options.epsilon),
        .decay = piece.tensor->decays() ? static_cast<float>(learning_rate * options.weight_decay) : 0.0f};
    kernels.adamw(coefficients, gradients + piece.begin, static_cast<int>(piece.count),
                  parameters + piece.begin, packed_first_moment + piece.packed,
                  packed_second_moment + piece.packed);
  });
}

}  // namespace retort::student
