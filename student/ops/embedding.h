// Token embedding: x[t] = table[tokens[t]]. The gradient adds rows of equal tokens in order of position,
// without atomics.
#ifndef STUDENT_OPS_EMBEDDING_H_
#define STUDENT_OPS_EMBEDDING_H_

#include <cstdint>
#include <span>

#include "student/tensor/compute.h"

namespace retort::student {

// table [V, n], x [tokens, n]; tokens in [0, V).
void Embed(const Compute& compute, const float* table, std::span<const std::int32_t> tokens, int n, float* x);

// d_table[tokens[t]] += dx[t], t in order for each token id.
void EmbedBackward(const Compute& compute, std::span<const std::int32_t> tokens, const float* dx, int n,
                   float* d_table);

}  // namespace retort::student

#endif  // STUDENT_OPS_EMBEDDING_H_
