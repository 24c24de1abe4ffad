// Causal attention of multi-head latent attention in its training form (DeepSeek-V2, arXiv 2405.04434,
// section 2.1): the keys of a head are its own k_nope beside one rotated rope key that all heads share.
//
//   score(i, j) = (q_nope_i . k_nope_j + q_rope_i . k_rope_j) / sqrt(nope + rope),  softmax in fp32,  o_i =
//   sum_j P_ij v_j
//
// A span is one document; nothing crosses spans, and no [T, T] matrix over a whole pack exists: the largest
// piece is one block of queries against its document. Repeatable at any thread count. In the fast paths a
// query's result does not depend on the other queries, so decoding gives the bits of the full pass.
#ifndef STUDENT_OPS_ATTENTION_H_
#define STUDENT_OPS_ATTENTION_H_

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "student/device/device_types.h"
#include "student/tensor/compute.h"

namespace retort::student {

struct AttentionShape {
  int heads, nope, rope, value;
  int query() const { return nope + rope; }       // floats per head and row of q
  int key_value() const { return nope + value; }  // floats per head and row of kv: k_nope, then v
};

// Query i of a span, 0 <= i < queries, sees its keys 0 .. keys - queries + i. queries <= keys.
struct AttentionSpan {
  std::int64_t first_query, queries, first_key, keys;
};

// Rows in document order. Forward reads q, kv, rope_key and writes out and log_sum.
struct AttentionTensors {
  const float* q;         // [Tq, heads * (nope + rope)], rope part rotated
  const float* kv;        // [Tk, heads * (nope + value)]
  const float* rope_key;  // [Tk, rope], rotated
  float* out;             // [Tq, heads * value]
  float* log_sum;  // [heads, total_queries]: log of the softmax denominators, kept for the backward pass
  std::int64_t total_queries;
};

void Attention(const Compute& compute, const AttentionShape& shape, std::span<const AttentionSpan> spans,
               const AttentionTensors& tensors);

struct AttentionGradients {
  const float* d_out;      // [Tq, heads * value]
  float* d_q;              // [Tq, heads * (nope + rope)], overwritten
  float* d_kv;             // [Tk, heads * (nope + value)], overwritten
  float* d_rope_key;       // [Tk, rope], overwritten: the heads' shares added in head order
  float* rope_key_shares;  // [heads, total_queries, rope], working memory
};

// The gradients of Attention given its inputs and outputs; spans with queries == keys, which together cover
// every row.
void AttentionBackward(const Compute& compute, const AttentionShape& shape,
                       std::span<const AttentionSpan> spans, const AttentionTensors& tensors,
                       const AttentionGradients& gradients);

// The device twins (student/ops/README.md): one pack of documents, queries == keys, all pointers to device
// memory. Online softmax over tiles of 64 keys from the document's first on: a row's bits do not depend on
// where in the pack its document lies. T: float or Bf16; sums, softmax and log_sum are fp32.
struct AttentionDocuments {
  const std::int32_t* starts;       // [count + 1]: 0 first, rows last, strictly increasing
  const std::int32_t* tile_starts;  // [count + 1], by AttentionTiles
  int count;
  std::int64_t rows;
};

// tile_starts[d] = number of 64-row tiles of the documents before d. Once per batch, for all layers.
void AttentionTiles(Stream stream, const std::int32_t* starts, int count, std::int32_t* tile_starts);

template <typename T>
struct DeviceAttention {
  const T* q;         // [rows, heads * (nope + rope)]
  const T* kv;        // [rows, heads * (nope + value)]
  const T* rope_key;  // [rows, rope]
  T* out;             // [rows, heads * value]
  float* log_sum;     // [heads, rows]
};
template <typename T>
void Attention(Stream stream, const AttentionShape& shape, const AttentionDocuments& documents,
               const DeviceAttention<T>& tensors);

template <typename T>
struct DeviceAttentionGradients {
  const T* d_out;  // [rows, heads * value]
  T* d_q;          // [rows, heads * (nope + rope)], overwritten
  T* d_kv;         // [rows, heads * (nope + value)], overwritten
  T* d_rope_key;   // [rows, rope], overwritten
};
// Floats of working memory.
std::int64_t AttentionBackwardWorkspace(const AttentionShape& shape, std::int64_t rows);
// One kernel for queries, one for keys, one for values, each recomputing the scores: nothing is added to by
// two blocks. The heads' shares of the rope key's gradient are added in head order.
template <typename T>
void AttentionBackward(Stream stream, const AttentionShape& shape, const AttentionDocuments& documents,
                       const DeviceAttention<T>& tensors, const DeviceAttentionGradients<T>& gradients,
                       float* workspace);

// The truth for one head of one span, any real type; pointers are to the span's first row and the head's
// first column.
namespace plain {

template <typename Real>
void AttentionHead(const AttentionShape& shape, std::int64_t queries, std::int64_t keys, const Real* q,
                   const Real* kv, const Real* rope_key, Real* out, Real* log_sum) {
  const std::int64_t q_stride = shape.heads * shape.query(), kv_stride = shape.heads * shape.key_value();
  const Real scale = 1 / std::sqrt(static_cast<Real>(shape.query()));
  std::vector<Real> p(keys);
  for (std::int64_t i = 0; i < queries; ++i) {
    const std::int64_t seen = keys - queries + i + 1;
    Real best = 0, sum = 0;
    for (std::int64_t j = 0; j < seen; ++j) {
      Real score = 0;
      for (int d = 0; d < shape.nope; ++d) score += q[i * q_stride + d] * kv[j * kv_stride + d];
      for (int d = 0; d < shape.rope; ++d)
        score += q[i * q_stride + shape.nope + d] * rope_key[j * shape.rope + d];
      p[j] = score * scale;
      if (j == 0 || p[j] > best) best = p[j];
    }
    for (std::int64_t j = 0; j < seen; ++j) sum += p[j] = std::exp(p[j] - best);
    if (log_sum != nullptr) log_sum[i] = best + std::log(sum);
    for (int d = 0; d < shape.value; ++d) {
      Real value = 0;
      for (std::int64_t j = 0; j < seen; ++j) value += p[j] * kv[j * kv_stride + shape.nope + d];
      out[i * shape.heads * shape.value + d] = value / sum;
    }
  }
}

// d_q and d_kv overwritten; rope_key_share [queries, rope] overwritten with this head's share.
template <typename Real>
void AttentionHeadBackward(const AttentionShape& shape, std::int64_t queries, const Real* q, const Real* kv,
                           const Real* rope_key, const Real* out, const Real* log_sum, const Real* d_out,
                           Real* d_q, Real* d_kv, Real* rope_key_share) {
  const std::int64_t q_stride = shape.heads * shape.query(), kv_stride = shape.heads * shape.key_value();
  const std::int64_t o_stride = shape.heads * shape.value;
  const Real scale = 1 / std::sqrt(static_cast<Real>(shape.query()));
  for (std::int64_t t = 0; t < queries; ++t) {
    for (int d = 0; d < shape.query(); ++d) d_q[t * q_stride + d] = 0;
    for (int d = 0; d < shape.key_value(); ++d) d_kv[t * kv_stride + d] = 0;
    for (int d = 0; d < shape.rope; ++d) rope_key_share[t * shape.rope + d] = 0;
  }
  for (std::int64_t i = 0; i < queries; ++i) {
    Real delta = 0;
    for (int d = 0; d < shape.value; ++d) delta += d_out[i * o_stride + d] * out[i * o_stride + d];
    for (std::int64_t j = 0; j <= i; ++j) {
      Real score = 0, dp = 0;
      for (int d = 0; d < shape.nope; ++d) score += q[i * q_stride + d] * kv[j * kv_stride + d];
      for (int d = 0; d < shape.rope; ++d)
        score += q[i * q_stride + shape.nope + d] * rope_key[j * shape.rope + d];
      const Real p = std::exp(score * scale - log_sum[i]);
      for (int d = 0; d < shape.value; ++d) {
        dp += d_out[i * o_stride + d] * kv[j * kv_stride + shape.nope + d];
        d_kv[j * kv_stride + shape.nope + d] += p * d_out[i * o_stride + d];
      }
      const Real ds = scale * (p * (dp - delta));
      for (int d = 0; d < shape.nope; ++d) {
        d_q[i * q_stride + d] += ds * kv[j * kv_stride + d];
        d_kv[j * kv_stride + d] += ds * q[i * q_stride + d];
      }
      for (int d = 0; d < shape.rope; ++d) {
        d_q[i * q_stride + shape.nope + d] += ds * rope_key[j * shape.rope + d];
        rope_key_share[j * shape.rope + d] += ds * q[i * q_stride + shape.nope + d];
      }
    }
  }
}

}  // namespace plain
}  // namespace retort::student

#endif  // STUDENT_OPS_ATTENTION_H_
