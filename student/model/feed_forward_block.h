// Second half of a decoder layer: y = x + F(RMSNorm(x)), where F is one gated feed-forward network in the
// leading dense layers, and otherwise the chosen routed experts, weighted, plus the shared ones.
#ifndef STUDENT_MODEL_FEED_FORWARD_BLOCK_H_
#define STUDENT_MODEL_FEED_FORWARD_BLOCK_H_

#include <cstdint>
#include <vector>

#include "student/model/block.h"

namespace retort::student {

// Working memory of one pass, shared by all layers.
struct FeedForwardMemory {
  float *logits, *norm;  // forward: of the router; norm only where activations are rounded
  Values slot_out;
  Values dy, d_hidden, d_gate_up, d_slot_hidden, d_slot_gate_up, d_slots;
  float *slot_scale, *d_logits, *d_norm;
  // When experts are split over ranks: rows of this rank's slots, on their way there and back; rows as they
  // arrive; gradients of what the own experts gave.
  Values travelling, arrived, owned_dy;
  float *arrived_scale, *returned_scale;

  void Plan(const ModelConfig& config, const PassSizes& sizes, Arena* arena);
};

// The balance loss as it enters the backward pass.
struct BalanceTerm {
  double alpha = 0;                // 0 = off
  const double* factor = nullptr;  // 1 / valid tokens of the step
  BalanceSums* sums = nullptr;
};

class FeedForwardBlock {
 public:
  FeedForwardBlock(const ParameterLayout& layout, int layer);

  bool routed() const { return experts_ > 0; }
  // As AttentionBlock.
  void PlanSaved(const PassSizes& sizes, Arena* arena);
  void Forward(const PassContext& pass, const FeedForwardMemory& memory, const float* x, float* y);
  void Recompute(const PassContext& pass, const FeedForwardMemory& memory, const float* x);
  void Backward(const PassContext& pass, const float* x, const FeedForwardMemory& memory,
                const BalanceTerm& balance, float* dx);
  // Tokens that the last Forward sent to each expert, added; routed() only.
  void AddLoads(std::int64_t* loads) const;

 private:
  // Everything up to the gated units, which is what Backward reads. first_time: the loads are not known yet.
  void Activate(const PassContext& pass, const FeedForwardMemory& memory, const float* x, bool first_time);
  void BackwardRouted(const PassContext& pass, const float* x, const FeedForwardMemory& memory,
                      const BalanceTerm& balance, Values dy);
  // Rows of the routed experts that are here: this rank's slots, or those that all ranks sent.
  std::int64_t ExpertRows(const PassContext& pass) const;
  // The router works in fp32 whatever the activations are.
  const float* RouterInput(const PassContext& pass, const FeedForwardMemory& memory, const float* x);
  ExpertProduct OfExperts(const PassContext& pass, ExpertProduct::Kind kind, bool down, Values x,
                          Values y) const;
  ExpertSlots Slots(const PassContext& pass) const {
    if (pass.exchange != nullptr) return {plan_.offsets, nullptr};
    return {host_offsets_, routing_.slot_tokens};
  }

  const ModelConfig& config_;
  const RouterShape router_shape_;
  int post_norm_;
  GatedWeights common_;  // the dense network, or the shared experts
  int router_ = -1, router_bias_ = -1;
  const ExpertShare held_;          // routed experts whose weights are here
  GatedWeights first_expert_;       // of those
  std::int64_t expert_stride_ = 0;  // floats from one expert's weights to the next one's
  int experts_ = 0;                 // 0 in a dense layer

  Values norm_, gate_up_, hidden_;  // per row
  float* norm_r_ = nullptr;
  Routing routing_;
  std::vector<std::int32_t> host_offsets_;  // [E + 1], of the last Forward
  Values slot_gate_up_, slot_hidden_;       // per slot
  // When experts are split over ranks: what came to the own ones.
  ExchangePlan plan_;
  Values owned_rows_;
  float* owned_weights_ = nullptr;
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_FEED_FORWARD_BLOCK_H_
