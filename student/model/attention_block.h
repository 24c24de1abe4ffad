// First half of a decoder layer: y = x + MLA(RMSNorm(x)), multi-head latent attention without weight
// absorption (DeepSeek-V2, arXiv 2405.04434, section 2.1).
#ifndef STUDENT_MODEL_ATTENTION_BLOCK_H_
#define STUDENT_MODEL_ATTENTION_BLOCK_H_

#include <cstdint>

#include "student/model/block.h"
#include "student/model/latent_cache.h"

namespace retort::student {

// Working memory of one backward pass, shared by all layers.
struct AttentionMemory {
  Values dy, d_out, d_q, d_kv, d_rope_key, d_query_down_rounded, d_kv_down_rounded;
  float *d_query_latent, *d_query_down, *d_latent, *d_kv_down, *d_norm;

  void Plan(const ModelConfig& config, const PassSizes& sizes, Arena* arena);
};

class AttentionBlock {
 public:
  AttentionBlock(const ParameterLayout& layout, int layer);

  // What Forward fills and Backward reads.
  void PlanSaved(const PassSizes& sizes, Arena* arena);

  // x, y [T, hidden]. x must stay as it is until Backward.
  void Forward(const PassContext& pass, const float* x, float* y);
  // Fills what Backward reads once more, with the same bits, without making y.
  void Recompute(const PassContext& pass, const float* x);
  // The forward pass for rows that follow those in the cache, which it appends to (without changing the
  // cache's size). Token positions are absolute; the batch's one span sees the keys of the cache too. On the
  // host.
  void Extend(const PassContext& pass, const float* x, LatentCache* cache, float* y);
  // In: dx = dL/dy. Out: dx = dL/dx. Adds to the gradients of this block's weights.
  void Backward(const PassContext& pass, const float* x, const AttentionMemory& memory, float* dx);

 private:
  void Project(const PassContext& pass, const float* x);
  void Attend(const PassContext& pass);
  void ProjectOut(const PassContext& pass, const float* x, float* y);
  AttentionValues Tensors(const PassContext& pass) const;

  const ModelConfig& config_;
  const int layer_;
  const AttentionShape shape_;
  int input_norm_, query_down_ = -1, query_norm_ = -1, query_up_, kv_down_, kv_norm_, kv_up_,
                   out_;     // tensor indices
  const int kv_down_width_;  // kv_rank + rope_head_dim

  // Per row: normalised input; query latent before and after its norm; kv_down_ output (latent, rope key);
  // normalised latent; rotated rope key; rotated queries; keys and values; attention output; and the
  // reciprocal roots of the three norms.
  Values norm_, query_normed_, kv_normed_, rope_key_, q_, kv_, attended_;
  float *query_latent_ = nullptr, *kv_latent_ = nullptr, *log_sum_ = nullptr;
  float *norm_r_ = nullptr, *query_r_ = nullptr, *kv_r_ = nullptr;
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_ATTENTION_BLOCK_H_
