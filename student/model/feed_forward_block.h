// Second half of a decoder layer: y = x + F(RMSNorm(x)), where F is one gated feed-forward network in the
// leading dense layers, and otherwise the chosen routed experts, weighted, plus the shared ones.
#ifndef STUDENT_MODEL_FEED_FORWARD_BLOCK_H_
#define STUDENT_MODEL_FEED_FORWARD_BLOCK_H_

#include <cstdint>
#include <span>
#include <vector>

#include "student/model/block.h"
#include "student/ops/dispatch.h"
#include "student/ops/router.h"

namespace retort::student {

// Working memory of one backward pass, shared by all layers.
struct FeedForwardMemory {
  Buffer d_hidden, d_gate_up, d_slot_hidden, d_slot_gate_up, d_slots, slot_scale, d_weights, d_logits, d_norm;
};

// The balance loss as it enters the backward pass; alpha 0 = off.
struct BalanceTerm {
  double alpha = 0;
  double factor = 0;     // 1 / valid tokens of the step
  double sum = 0;        // out: alpha * L, added over documents
  double token_sum = 0;  // out: T_d * alpha * L, added over documents
};

class FeedForwardBlock {
 public:
  FeedForwardBlock(const ParameterLayout& layout, int layer);

  bool routed() const { return !experts_.empty(); }
  // As AttentionBlock.
  void Forward(const Compute& compute, const ParameterSet& parameters, const Rows& rows, const float* x,
               float* y);
  void Backward(const Compute& compute, const ParameterSet& parameters, const Rows& rows, const float* x,
                FeedForwardMemory* memory, BalanceTerm* balance, float* dx, Gradients* gradients);
  // Tokens that the last Forward sent to each expert; routed() only.
  void AddLoads(std::int64_t* loads) const;

 private:
  void BackwardRouted(const Compute& compute, const ParameterSet& parameters, const Rows& rows,
                      FeedForwardMemory* memory, BalanceTerm* balance, const float* dy, float* d_norm,
                      Gradients* gradients);

  const ModelConfig& config_;
  const RouterShape router_shape_;
  int post_norm_;
  GatedWeights common_;  // the dense network, or the shared experts
  int router_ = -1, router_bias_ = -1;
  std::vector<GatedWeights> experts_;  // empty in a dense layer

  Buffer norm_, norm_r_, gate_up_, hidden_;  // per row
  Buffer logits_, scores_, weights_;         // per row: [E], [E], [K]
  std::vector<std::int32_t> chosen_;         // [T, K]
  Dispatch dispatch_;
  Buffer slot_gate_up_, slot_hidden_, slot_out_;  // per slot
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_FEED_FORWARD_BLOCK_H_
