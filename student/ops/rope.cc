#include "student/ops/rope.h"

#include <cassert>
#include <cmath>

namespace retort::student {

RopeTable::RopeTable(double theta, int dim, int positions) : dim_(dim) {
  assert(dim % 2 == 0);
  const std::int64_t size = static_cast<std::int64_t>(positions) * dim / 2;
  cosines_.reserve(size);
  sines_.reserve(size);
  for (int position = 0; position < positions; ++position) {
    for (int pair = 0; pair < dim / 2; ++pair) {
      // Frequency and angle are rounded to fp32 as in the reference implementations.
      const float frequency = 1.0f / static_cast<float>(std::pow(theta, 2.0 * pair / dim));
      const float angle = static_cast<float>(position) * frequency;
      cosines_.push_back(static_cast<float>(std::cos(static_cast<double>(angle))));
      sines_.push_back(static_cast<float>(std::sin(static_cast<double>(angle))));
    }
  }
}

void Rope(const Compute& compute, const RopeTable& table, const std::int32_t* positions, std::int64_t rows,
          int vectors, bool backward, float* x, std::int64_t row_stride, std::int64_t vector_stride) {
  constexpr int kRowsPerTask = 128;
  ForEachBlock(compute, rows, kRowsPerTask, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const float* cosines = table.cosines(positions[t]);
      const float* sines = table.sines(positions[t]);
      for (int v = 0; v < vectors; ++v) {
        float* vector = x + t * row_stride + v * vector_stride;
        for (int pair = 0; pair < table.dim() / 2; ++pair) {
          const float cosine = cosines[pair], sine = backward ? -sines[pair] : sines[pair];
          const float a = vector[2 * pair], b = vector[2 * pair + 1];
          vector[2 * pair] = a * cosine - b * sine;
          vector[2 * pair + 1] = a * sine + b * cosine;
        }
      }
    }
  });
}

}  // namespace retort::student
