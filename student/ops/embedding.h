// Token embedding: x[t] = table[tokens[t]]. The gradient adds rows of equal tokens in order of position,
// without atomics.
#ifndef STUDENT_OPS_EMBEDDING_H_
#define STUDENT_OPS_EMBEDDING_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "student/device/device_types.h"
#include "student/tensor/compute.h"

namespace retort::student {

// table [V, n], x [tokens, n]; tokens in [0, V).
void Embed(const Compute& compute, const float* table, std::span<const std::int32_t> tokens, int n, float* x);

// d_table[tokens[t]] += dx[t], t in order for each token id.
void EmbedBackward(const Compute& compute, std::span<const std::int32_t> tokens, const float* dx, int n,
                   float* d_table);

// The device twins (student/ops/README.md says what holds for all of them). T: float or Bf16.
template <typename T>
void Embed(Stream stream, const T* table, const std::int32_t* tokens, std::int64_t count, int n, float* x);

// Bytes of working memory for a batch of `count` tokens.
std::size_t EmbedBackwardWorkspace(std::int64_t count, int vocabulary);

// Positions are sorted by token id, stably, then each run of equal tokens is added in order: the order of
// additions, and so every bit, is that of the plain CPU version.
void EmbedBackward(Stream stream, const std::int32_t* tokens, std::int64_t count, int vocabulary,
                   const float* dx, int n, float* d_table, void* workspace);

}  // namespace retort::student

#endif  // STUDENT_OPS_EMBEDDING_H_
