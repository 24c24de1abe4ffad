#include "student/model/feed_forward_block.h"

#include <algorithm>
#include <string>

#include "student/ops/matmul.h"
#include "student/ops/rms_norm.h"
#include "student/ops/swiglu.h"

namespace retort::student {

FeedForwardBlock::FeedForwardBlock(const ParameterLayout& layout, int layer)
    : config_(layout.config()), router_shape_{config_.experts,        config_.experts_per_token,
                                              config_.expert_groups,  config_.expert_groups_per_token,
                                              config_.routed_scaling, config_.normalise_expert_weights} {
  const std::string name = "model.layers." + std::to_string(layer);
  post_norm_ = Require(layout, name + ".post_attention_layernorm.weight");
  if (layer < config_.dense_layers) {
    common_ = GatedWeights::Find(layout, name + ".mlp", config_.dense_width);
    return;
  }
  common_ = GatedWeights::Find(layout, name + ".mlp.shared_experts", config_.shared_width());
  router_ = Require(layout, name + ".mlp.gate.weight");
  router_bias_ = Require(layout, name + ".mlp.gate.e_score_correction_bias");
  for (int e = 0; e < config_.experts; ++e) {
    experts_.push_back(
        GatedWeights::Find(layout, name + ".mlp.experts." + std::to_string(e), config_.expert_width));
  }
}

void FeedForwardBlock::Forward(const Compute& compute, const ParameterSet& parameters, const Rows& rows,
                               const float* x, float* y) {
  const std::int64_t count = rows.count;
  const int n = static_cast<int>(count), hidden = config_.hidden, per_token = config_.experts_per_token;
  const int width = common_.width, expert_width = config_.expert_width;
  float* const norm = norm_.Reserve(count * hidden);
  RmsNorm(compute, x, hidden, Weight(parameters, post_norm_), count, hidden,
          static_cast<float>(config_.rms_norm_epsilon), norm, hidden, norm_r_.Reserve(count));

  std::vector<MatrixProduct> up, down;
  float* const gate_up = gate_up_.Reserve(count * 2 * width);
  float* const h = hidden_.Reserve(count * width);
  std::copy_n(x, count * hidden, y);
  if (routed()) {
    float* const logits = logits_.Reserve(count * config_.experts);
    MatMul(compute, LinearForward({norm, hidden}, {Weight(parameters, router_), hidden}, logits,
                                  config_.experts, n, hidden, config_.experts));
    chosen_.resize(count * per_token);
    Route(compute, router_shape_, logits, Weight(parameters, router_bias_), count,
          scores_.Reserve(count * config_.experts), chosen_.data(), weights_.Reserve(count * per_token));
    SortByExpert(chosen_.data(), weights_.data(), count, per_token, config_.experts, &dispatch_);
    const std::int64_t slots = count * per_token;
    float* const slot_gate_up = slot_gate_up_.Reserve(slots * 2 * expert_width);
    float* const slot_h = slot_hidden_.Reserve(slots * expert_width);
    float* const slot_out = slot_out_.Reserve(slots * hidden);
    for (int e = 0; e < config_.experts; ++e) {
      const std::int64_t first = dispatch_.offsets[e];
      const int size = dispatch_.slots(e);
      if (size == 0) continue;
      const MatrixView tokens = {norm, hidden, dispatch_.slot_tokens.data() + first};
      up.push_back(LinearForward(tokens, {Weight(parameters, experts_[e].gate_up), hidden},
                                 slot_gate_up + first * 2 * expert_width, 2 * expert_width, size, hidden,
                                 2 * expert_width));
      down.push_back(LinearForward({slot_h + first * expert_width, expert_width},
                                   {Weight(parameters, experts_[e].down), expert_width},
                                   slot_out + first * hidden, hidden, size, expert_width, hidden));
    }
  }
  up.push_back(LinearForward({norm, hidden}, {Weight(parameters, common_.gate_up), hidden}, gate_up,
                             2 * width, n, hidden, 2 * width));
  down.push_back(
      LinearForward({h, width}, {Weight(parameters, common_.down), width}, y, hidden, n, width, hidden));
  down.back().accumulate = true;
  MatMul(compute, up);
  Swiglu(compute, gate_up, nullptr, count, width, h);
  if (routed()) {
    Swiglu(compute, slot_gate_up_.data(), dispatch_.slot_weights.data(), count * per_token, expert_width,
           slot_hidden_.data());
  }
  MatMul(compute, down);
  if (routed()) GatherSum(compute, dispatch_, slot_out_.data(), count, per_token, hidden, y);
}

void FeedForwardBlock::Backward(const Compute& compute, const ParameterSet& parameters, const Rows& rows,
                                const float* x, FeedForwardMemory* memory, BalanceTerm* balance, float* dx,
                                Gradients* gradients) {
  const std::int64_t count = rows.count;
  const int n = static_cast<int>(count), hidden = config_.hidden, width = common_.width;
  float* const d_norm = memory->d_norm.Reserve(count * hidden);
  if (routed()) {
    BackwardRouted(compute, parameters, rows, memory, balance, dx, d_norm, gradients);
  } else {
    float* const d_hidden = memory->d_hidden.Reserve(count * width);
    float* const d_gate_up = memory->d_gate_up.Reserve(count * 2 * width);
    const MatrixProduct down[] = {
        LinearBackwardInput({dx, hidden}, {Weight(parameters, common_.down), width}, d_hidden, width, n,
                            width, hidden, false),
        LinearBackwardWeight({dx, hidden}, {hidden_.data(), width}, Weight(gradients, common_.down), width, n,
                             width, hidden)};
    MatMul(compute, down);
    SwigluBackward(compute, gate_up_.data(), nullptr, d_hidden, count, width, d_gate_up, nullptr);
    const MatrixProduct up[] = {
        LinearBackwardInput({d_gate_up, 2 * width}, {Weight(parameters, common_.gate_up), hidden}, d_norm,
                            hidden, n, hidden, 2 * width, false),
        LinearBackwardWeight({d_gate_up, 2 * width}, {norm_.data(), hidden},
                             Weight(gradients, common_.gate_up), hidden, n, hidden, 2 * width)};
    MatMul(compute, up);
  }
  RmsNormBackward(compute, x, hidden, Weight(parameters, post_norm_), norm_r_.data(), d_norm, hidden, count,
                  hidden, dx, hidden, Weight(gradients, post_norm_));
}

void FeedForwardBlock::BackwardRouted(const Compute& compute, const ParameterSet& parameters,
                                      const Rows& rows, FeedForwardMemory* memory, BalanceTerm* balance,
                                      const float* dy, float* d_norm, Gradients* gradients) {
  const std::int64_t count = rows.count;
  const int n = static_cast<int>(count), hidden = config_.hidden, per_token = config_.experts_per_token;
  const int width = common_.width, expert_width = config_.expert_width, experts = config_.experts;
  const std::int64_t slots = count * per_token;
  float* const d_hidden = memory->d_hidden.Reserve(count * width);
  float* const d_gate_up = memory->d_gate_up.Reserve(count * 2 * width);
  float* const d_slot_hidden = memory->d_slot_hidden.Reserve(slots * expert_width);
  float* const d_slot_gate_up = memory->d_slot_gate_up.Reserve(slots * 2 * expert_width);
  float* const d_slots = memory->d_slots.Reserve(slots * hidden);
  float* const slot_scale = memory->slot_scale.Reserve(slots);

  // Both backward products of one gated network, over all rows or the tokens of an expert.
  const auto add_down = [&](const GatedWeights& w, MatrixView d, const float* h, float* d_h, int size,
                            std::vector<MatrixProduct>* products) {
    products->push_back(LinearBackwardInput(d, {Weight(parameters, w.down), w.width}, d_h, w.width, size,
                                            w.width, hidden, false));
    products->push_back(
        LinearBackwardWeight(d, {h, w.width}, Weight(gradients, w.down), w.width, size, w.width, hidden));
  };
  const auto add_up = [&](const GatedWeights& w, const float* d, MatrixView input, float* d_in, int size,
                          std::vector<MatrixProduct>* products) {
    products->push_back(LinearBackwardInput({d, 2 * w.width}, {Weight(parameters, w.gate_up), hidden}, d_in,
                                            hidden, size, hidden, 2 * w.width, false));
    products->push_back(LinearBackwardWeight({d, 2 * w.width}, input, Weight(gradients, w.gate_up), hidden,
                                             size, hidden, 2 * w.width));
  };
  std::vector<MatrixProduct> down, up;
  for (int e = 0; e < experts; ++e) {
    const std::int64_t first = dispatch_.offsets[e];
    const int size = dispatch_.slots(e);
    if (size == 0) continue;
    const std::int32_t* tokens = dispatch_.slot_tokens.data() + first;
    add_down(experts_[e], {dy, hidden, tokens}, slot_hidden_.data() + first * expert_width,
             d_slot_hidden + first * expert_width, size, &down);
    add_up(experts_[e], d_slot_gate_up + first * 2 * expert_width, {norm_.data(), hidden, tokens},
           d_slots + first * hidden, size, &up);
  }
  add_down(common_, {dy, hidden}, hidden_.data(), d_hidden, n, &down);
  add_up(common_, d_gate_up, {norm_.data(), hidden}, d_norm, n, &up);

  MatMul(compute, down);
  SwigluBackward(compute, gate_up_.data(), nullptr, d_hidden, count, width, d_gate_up, nullptr);
  SwigluBackward(compute, slot_gate_up_.data(), dispatch_.slot_weights.data(), d_slot_hidden, slots,
                 expert_width, d_slot_gate_up, slot_scale);

  float* const d_weights = memory->d_weights.Reserve(slots);
  float* const d_logits = memory->d_logits.Reserve(count * experts);
  for (std::int64_t i = 0; i < slots; ++i) d_weights[i] = slot_scale[dispatch_.token_slots[i]];
  RouteBackward(compute, router_shape_, scores_.data(), chosen_.data(), d_weights, count, d_logits);
  if (balance->alpha != 0) {
    for (const AttentionSpan& document : rows.documents) {
      const std::int64_t offset = document.first_query * experts;
      const double tokens = static_cast<double>(document.queries);
      const double loss =
          balance->alpha * BalanceLoss(router_shape_, scores_.data() + offset, document.queries,
                                       balance->alpha * balance->factor * tokens, d_logits + offset);
      balance->sum += loss;
      balance->token_sum += tokens * loss;
    }
  }
  up.push_back(LinearBackwardWeight({d_logits, experts}, {norm_.data(), hidden}, Weight(gradients, router_),
                                    hidden, n, hidden, experts));
  MatMul(compute, up);
  MatMul(compute, LinearBackwardInput({d_logits, experts}, {Weight(parameters, router_), hidden}, d_norm,
                                      hidden, n, hidden, experts, true));
  GatherSum(compute, dispatch_, d_slots, count, per_token, hidden, d_norm);
}

void FeedForwardBlock::AddLoads(std::int64_t* loads) const {
  for (int e = 0; e < config_.experts; ++e) loads[e] += dispatch_.slots(e);
}

}  // namespace retort::student
