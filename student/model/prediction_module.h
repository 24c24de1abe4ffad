// Multi-token prediction (DeepSeek-V3, arXiv 2412.19437, section 2.2). Module k of D predicts at position i
// the token k places behind the next one, from what the module before it made of position i and from the
// embedding of token i + k:
//
//   x   = W_eh [ RMSNorm_e(Emb(t_{i+k})) ; RMSNorm_h(h^{k-1}_i) ]     h^0: the stack before its final norm
//   h^k = DecoderLayer_k(x), a routed layer                           logits = W_head RMSNorm_s(h^k)
//
// Embedding and head are the stack's own, so their gradients add up. The batch of a module is the stack's,
// shifted (ShiftedBatch, packed_batch.h): as many positions, in the same documents, so a module runs on the
// operators of a layer, the head and the embedding and needs none of its own. Trained only: evaluation and
// decoding do not know of it.
#ifndef STUDENT_MODEL_PREDICTION_MODULE_H_
#define STUDENT_MODEL_PREDICTION_MODULE_H_

#include <cstdint>

#include "student/model/attention_block.h"
#include "student/model/feed_forward_block.h"

namespace retort::student {

// Working memory of one pass, shared by all modules; not alive at once with that of the two blocks.
struct PredictionMemory {
  float *embedded, *d_embedded, *d_joined;
  Values normed, dy;  // normed: the head's input, with the reciprocal roots of its norm
  float* normed_r;

  void Plan(const ModelConfig& config, const PassSizes& sizes, Arena* arena);
};

class PredictionModule {
 public:
  // depth: k, from 1.
  PredictionModule(const ParameterLayout& layout, int depth);

  // What Forward fills and Backward reads: always, and what can be computed again.
  void PlanKept(const PassSizes& sizes, Arena* arena);
  void PlanSaved(const PassSizes& sizes, Arena* arena);

  // pass.batch is the shifted one, of all three. h is h^{k-1} [T, hidden], which stays as it is until
  // Backward.
  void Forward(const PassContext& pass, const PredictionMemory& memory,
               const FeedForwardMemory& feed_forward_memory, const float* h);
  // h^k [T, hidden], after Forward.
  const float* output() const { return output_; }
  // Tensor index of RMSNorm_s.
  int head_norm() const { return head_norm_; }
  // In: dx = dL/dh^k. Out: dx = dL/dh^{k-1}. Adds to the gradients of this module's weights and of the
  // embedding. recompute: the blocks kept nothing.
  void Backward(const PassContext& pass, const PredictionMemory& memory,
                const AttentionMemory& attention_memory, const FeedForwardMemory& feed_forward_memory,
                const BalanceTerm& balance, bool recompute, const float* h, float* dx);
  void AddLoads(std::int64_t* loads) const { feed_forward_.AddLoads(loads); }

 private:
  const ModelConfig& config_;
  const int embedding_, embedded_norm_, hidden_norm_, join_, head_norm_;  // tensor indices
  AttentionBlock attention_;
  FeedForwardBlock feed_forward_;

  Values joined_;  // [T, 2 * hidden]: both norms side by side
  float *embedded_r_ = nullptr, *hidden_r_ = nullptr;
  float *input_ = nullptr, *middle_ = nullptr, *output_ = nullptr;  // the stream before, between, after
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_PREDICTION_MODULE_H_
