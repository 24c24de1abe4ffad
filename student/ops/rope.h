// Rotary position embedding of adjacent pairs (Su et al., arXiv 2104.09864): elements (2i, 2i+1) form pair i
// and turn by position * theta^(-2i/dim), in fp32:  (a, b) -> (a*cos - b*sin, a*sin + b*cos). transformers
// with rope_interleave true turns the same pairs and then stores them in another order, the same for queries
// and keys, so scores agree and weights need no permutation.
#ifndef STUDENT_OPS_ROPE_H_
#define STUDENT_OPS_ROPE_H_

#include <cstdint>
#include <vector>

#include "student/device/device_types.h"
#include "student/tensor/compute.h"

namespace retort::student {

// cos and sin of every (position, pair).
class RopeTable {
 public:
  // dim is even; positions in [0, positions).
  RopeTable(double theta, int dim, int positions);
  int dim() const { return dim_; }
  const float* cosines(int position) const {
    return cosines_.data() + static_cast<std::int64_t>(position) * dim_ / 2;
  }
  const float* sines(int position) const {
    return sines_.data() + static_cast<std::int64_t>(position) * dim_ / 2;
  }

 private:
  int dim_;
  std::vector<float> cosines_, sines_;
};

// Turns in place, in each of `rows` rows, `vectors` vectors of table.dim() floats that lie `vector_stride`
// apart; row t is at x + t * row_stride and turns by +positions[t], or by -positions[t] if backward, which is
// also the gradient's way.
void Rope(const Compute& compute, const RopeTable& table, const std::int32_t* positions, std::int64_t rows,
          int vectors, bool backward, float* x, std::int64_t row_stride, std::int64_t vector_stride);

// The device twin (student/ops/README.md). cosines and sines [positions, dim / 2] are those of a RopeTable,
// in device memory: RopeTable::cosines(0) and sines(0) are the first of positions * dim / 2 floats. Computed
// in fp32, stored as T: float or Bf16.
template <typename T>
void Rope(Stream stream, const float* cosines, const float* sines, int dim, const std::int32_t* positions,
          std::int64_t rows, int vectors, bool backward, T* x, std::int64_t row_stride,
          std::int64_t vector_stride);

}  // namespace retort::student

#endif  // STUDENT_OPS_ROPE_H_
