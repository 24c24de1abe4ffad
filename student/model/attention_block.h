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
  Buffer d_out, d_q, d_kv, d_rope_key, shares, d_query_latent, d_query_down, d_latent, d_kv_down, d_norm;
};

class AttentionBlock {
 public:
  AttentionBlock(const ParameterLayout& layout, int layer);

  // x, y [T, hidden]. Keeps what Backward needs until the next Forward; x must stay as it is until then.
  void Forward(const Compute& compute, const ParameterSet& parameters, const RopeTable& rope,
               const Rows& rows, const float* x, float* y);
  // The same for rows that follow those in the cache, which it appends to (without changing the cache's
  // size). positions of rows are absolute; rows.documents is not read.
  void Extend(const Compute& compute, const ParameterSet& parameters, const RopeTable& rope, const Rows& rows,
              const float* x, LatentCache* cache, float* y);
  // In: dx = dL/dy. Out: dx = dL/dx. Adds to the gradients of this block's weights.
  void Backward(const Compute& compute, const ParameterSet& parameters, const RopeTable& rope,
                const Rows& rows, const float* x, AttentionMemory* memory, float* dx, Gradients* gradients);

 private:
  void Project(const Compute& compute, const ParameterSet& parameters, const RopeTable& rope,
               const Rows& rows, const float* x);
  void ProjectOut(const Compute& compute, const ParameterSet& parameters, std::int64_t rows, const float* x,
                  float* y);
  AttentionTensors Tensors(std::int64_t rows);

  const ModelConfig& config_;
  const int layer_;
  const AttentionShape shape_;
  int input_norm_, query_down_ = -1, query_norm_ = -1, query_up_, kv_down_, kv_norm_, kv_up_,
                   out_;     // tensor indices
  const int kv_down_width_;  // kv_rank + rope_head_dim

  // Per row: normalised input; query latent before and after its norm; kv_down_ output (latent, rope key);
  // normalised latent; rotated rope key; rotated queries; keys and values; attention output; and the
  // reciprocal roots of the three norms.
  Buffer norm_, query_latent_, query_normed_, kv_latent_, kv_normed_, rope_key_, q_, kv_, attended_, log_sum_;
  Buffer norm_r_, query_r_, kv_r_;
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_ATTENTION_BLOCK_H_
