#include "student/model/feed_forward_block.h"

#include <algorithm>
#include <array>
#include <string>

namespace retort::student {

void FeedForwardMemory::Plan(const ModelConfig& c, const PassSizes& sizes, Arena* arena) {
  const std::int64_t rows = sizes.limits.positions, slots = sizes.limits.slots;
  const std::int64_t width = std::max(c.dense_layers > 0 ? c.dense_width : 0, c.shared_width());
  const Element element = sizes.activation;
  logits = arena->Take<float>(rows * c.experts);
  norm = element == Element::kF32 ? nullptr : arena->Take<float>(rows * c.hidden);
  slot_out = arena->Take(element, slots * c.hidden);
  const std::int64_t own_slots = rows * c.experts_per_token;
  if (sizes.expert_ranks > 1) {
    travelling = arena->Take(element, own_slots * c.hidden);
    arrived = arena->Take(element, slots * c.hidden);
    arrived_scale = arena->Take<float>(slots);
  }
  if (!sizes.backward) return;
  if (sizes.expert_ranks > 1) {
    owned_dy = arena->Take(element, slots * c.hidden);
    returned_scale = arena->Take<float>(own_slots);
  }
  dy = arena->TakeConverted(element, rows * c.hidden);
  d_hidden = arena->Take(element, rows * width);
  d_gate_up = arena->Take(element, rows * 2 * width);
  d_slot_hidden = arena->Take(element, slots * c.expert_width);
  d_slot_gate_up = arena->Take(element, slots * 2 * c.expert_width);
  d_slots = slot_out;  // one belongs to the forward pass, the other to the backward pass
  slot_scale = arena->Take<float>(slots);
  d_logits = arena->Take<float>(rows * c.experts);
  d_norm = arena->Take<float>(rows * c.hidden);
}

FeedForwardBlock::FeedForwardBlock(const ParameterLayout& layout, int layer)
    : config_(layout.config()),
      router_shape_{config_.experts,        config_.experts_per_token,
                    config_.expert_groups,  config_.expert_groups_per_token,
                    config_.routed_scaling, config_.normalise_expert_weights},
      held_(layout.held_experts()) {
  const std::string name = "model.layers." + std::to_string(layer);
  post_norm_ = Require(layout, name + ".post_attention_layernorm.weight");
  if (layer < config_.dense_layers) {
    common_ = GatedWeights::Find(layout, name + ".mlp", config_.dense_width);
    return;
  }
  common_ = GatedWeights::Find(layout, name + ".mlp.shared_experts", config_.shared_width());
  router_ = Require(layout, name + ".mlp.gate.weight");
  router_bias_ = Require(layout, name + ".mlp.gate.e_score_correction_bias");
  experts_ = config_.experts;
  host_offsets_.assign(experts_ + 1, 0);
  const auto expert = [&](int e) {
    return GatedWeights::Find(layout, name + ".mlp.experts." + std::to_string(e), config_.expert_width);
  };
  const auto offset = [&](int index) { return layout.tensors()[index].offset; };
  first_expert_ = expert(held_.begin);
  if (held_.end - held_.begin > 1)
    expert_stride_ = offset(expert(held_.begin + 1).gate_up) - offset(first_expert_.gate_up);
  for (int e = held_.begin; e < held_.end; ++e) {
    [[maybe_unused]] const GatedWeights weights = expert(e);
    [[maybe_unused]] const std::int64_t distance = (e - held_.begin) * expert_stride_;
    assert(offset(weights.gate_up) == offset(first_expert_.gate_up) + distance);
    assert(offset(weights.down) == offset(first_expert_.down) + distance);
  }
}

void FeedForwardBlock::PlanSaved(const PassSizes& sizes, Arena* arena) {
  const std::int64_t rows = sizes.limits.positions, slots = sizes.limits.slots;
  const Element element = sizes.activation;
  norm_ = arena->Take(element, rows * config_.hidden);
  norm_r_ = arena->Take<float>(rows);
  gate_up_ = arena->Take(element, rows * 2 * common_.width);
  hidden_ = arena->Take(element, rows * common_.width);
  if (!routed()) return;
  routing_.chosen = arena->Take<std::int32_t>(rows * config_.experts_per_token);
  routing_.scores = arena->Take<float>(rows * experts_);
  routing_.weights = arena->Take<float>(rows * config_.experts_per_token);
  routing_.offsets = arena->Take<std::int32_t>(experts_ + 1);
  routing_.slot_tokens = arena->Take<std::int32_t>(slots);
  routing_.slot_weights = arena->Take<float>(slots);
  routing_.token_slots = arena->Take<std::int32_t>(slots);
  slot_gate_up_ = arena->Take(element, slots * 2 * config_.expert_width);
  slot_hidden_ = arena->Take(element, slots * config_.expert_width);
  if (sizes.expert_ranks == 1) return;
  owned_rows_ = arena->Take(element, slots * config_.hidden);
  owned_weights_ = arena->Take<float>(slots);
  plan_.arrival = arena->Take<std::int32_t>(slots);
  plan_.departure = arena->Take<std::int32_t>(slots);
}

std::int64_t FeedForwardBlock::ExpertRows(const PassContext& pass) const {
  return pass.exchange != nullptr ? plan_.owned_rows() : pass.batch.positions * config_.experts_per_token;
}

ExpertProduct FeedForwardBlock::OfExperts(const PassContext& pass, ExpertProduct::Kind kind, bool down,
                                          Values x, Values y) const {
  const int index = down ? first_expert_.down : first_expert_.gate_up;
  const int width = config_.expert_width, hidden = config_.hidden;
  const bool weight = kind == ExpertProduct::Kind::kWeight;
  const bool travelled = pass.exchange != nullptr;  // rows then lie in the order of the experts already
  // Weights are here for exactly those experts whose rows are.
  assert(held_.begin == (travelled ? pass.exchange->first_expert() : 0));
  assert(held_.end - held_.begin == (travelled ? pass.exchange->own_experts() : experts_));
  return {kind,
          x,
          y,
          weight ? Values(pass.weights.Gradient(index)) : pass.weights.Matrix(index),
          expert_stride_,
          down ? width : hidden,
          down ? hidden : 2 * width,
          /*x_by_token=*/!travelled && !down && kind != ExpertProduct::Kind::kInput,
          /*y_by_token=*/!travelled && down && kind != ExpertProduct::Kind::kForward};
}

const float* FeedForwardBlock::RouterInput(const PassContext& pass, const FeedForwardMemory& memory,
                                           const float* x) {
  if (norm_.element == Element::kF32) return norm_.f32();
  pass.backend.RmsNorm(x, config_.hidden, pass.weights.Value(post_norm_), pass.batch.positions,
                       config_.hidden, static_cast<float>(config_.rms_norm_epsilon), memory.norm,
                       config_.hidden, norm_r_);
  return memory.norm;
}

void FeedForwardBlock::Activate(const PassContext& pass, const FeedForwardMemory& memory, const float* x,
                                bool first_time) {
  Backend& backend = pass.backend;
  const WeightView& w = pass.weights;
  const std::int64_t rows = pass.batch.positions;
  const int hidden = config_.hidden, width = common_.width;
  Values expert_input = norm_;
  const float* expert_weights = routing_.slot_weights;
  backend.RmsNorm(x, hidden, w.Value(post_norm_), rows, hidden, static_cast<float>(config_.rms_norm_epsilon),
                  norm_, hidden, norm_r_);
  const std::array up = {
      Linear(norm_, hidden, w.Matrix(common_.gate_up), gate_up_, 2 * width, rows, hidden, 2 * width)};
  if (routed()) {
    backend.MatMul(std::array{Linear(RouterInput(pass, memory, x), hidden, w.Value(router_), memory.logits,
                                     experts_, rows, hidden, experts_)});
    backend.Route(router_shape_, memory.logits, w.Value(router_bias_), rows, routing_);
    if (first_time) backend.ReadOffsets(routing_.offsets, host_offsets_);
    if (pass.exchange != nullptr) {
      if (first_time) pass.exchange->Plan(host_offsets_, &plan_);
      backend.GatherRows(norm_, routing_.slot_tokens, rows * config_.experts_per_token, hidden,
                         memory.travelling);
      pass.exchange->ToOwners(plan_, memory.travelling, hidden, memory.arrived, owned_rows_);
      pass.exchange->ToOwners(plan_, routing_.slot_weights, 1, memory.arrived_scale, owned_weights_);
      expert_input = owned_rows_;
      expert_weights = owned_weights_;
    }
    backend.MatMul(
        up, std::array{OfExperts(pass, ExpertProduct::Kind::kForward, false, expert_input, slot_gate_up_)},
        Slots(pass));
  } else {
    backend.MatMul(up);
  }
  backend.Swiglu(gate_up_, nullptr, rows, width, hidden_);
  if (routed()) {
    backend.Swiglu(slot_gate_up_, expert_weights, ExpertRows(pass), config_.expert_width, slot_hidden_);
  }
}

void FeedForwardBlock::Forward(const PassContext& pass, const FeedForwardMemory& memory, const float* x,
                               float* y) {
  Activate(pass, memory, x, true);
  Backend& backend = pass.backend;
  const std::int64_t rows = pass.batch.positions;
  const int hidden = config_.hidden, width = common_.width;
  backend.Copy(x, rows * hidden * static_cast<std::int64_t>(sizeof(float)), y);
  const std::array down = {
      Linear(hidden_, width, pass.weights.Matrix(common_.down), y, hidden, rows, width, hidden, true)};
  if (!routed()) {
    backend.MatMul(down);
    return;
  }
  backend.MatMul(
      down, std::array{OfExperts(pass, ExpertProduct::Kind::kForward, true, slot_hidden_, memory.slot_out)},
      Slots(pass));
  Values slot_out = memory.slot_out;
  if (pass.exchange != nullptr) {
    pass.exchange->ToSources(plan_, memory.slot_out, hidden, memory.arrived, memory.travelling);
    slot_out = memory.travelling;
  }
  backend.GatherSum(routing_, slot_out, rows, config_.experts_per_token, hidden, y);
}

void FeedForwardBlock::Recompute(const PassContext& pass, const FeedForwardMemory& memory, const float* x) {
  Activate(pass, memory, x, false);
}

void FeedForwardBlock::Backward(const PassContext& pass, const float* x, const FeedForwardMemory& memory,
                                const BalanceTerm& balance, float* dx) {
  Backend& backend = pass.backend;
  const WeightView& w = pass.weights;
  const std::int64_t rows = pass.batch.positions;
  const int hidden = config_.hidden, width = common_.width;
  const Values dy = backend.Convert(dx, rows * hidden, memory.dy);
  if (routed()) {
    BackwardRouted(pass, x, memory, balance, dy);
  } else {
    backend.MatMul(std::array{
        LinearInput(dy, hidden, w.Matrix(common_.down), memory.d_hidden, width, rows, width, hidden),
        LinearWeight(dy, hidden, hidden_, width, w.Gradient(common_.down), rows, width, hidden)});
    backend.SwigluBackward(gate_up_, nullptr, memory.d_hidden, rows, width, memory.d_gate_up, nullptr);
    backend.MatMul(std::array{LinearInput(memory.d_gate_up, 2 * width, w.Matrix(common_.gate_up),
                                          memory.d_norm, hidden, rows, hidden, 2 * width),
                              LinearWeight(memory.d_gate_up, 2 * width, norm_, hidden,
                                           w.Gradient(common_.gate_up), rows, hidden, 2 * width)});
  }
  backend.RmsNormBackward(x, hidden, w.Value(post_norm_), norm_r_, memory.d_norm, hidden, rows, hidden, dx,
                          hidden, w.Gradient(post_norm_));
}

void FeedForwardBlock::BackwardRouted(const PassContext& pass, const float* x,
                                      const FeedForwardMemory& memory, const BalanceTerm& balance,
                                      Values dy) {
  Backend& backend = pass.backend;
  const WeightView& w = pass.weights;
  using Kind = ExpertProduct::Kind;
  const std::int64_t rows = pass.batch.positions;
  const int hidden = config_.hidden, width = common_.width;
  // What the experts that are here work on: by token, or as it travelled.
  Values expert_dy = dy, expert_input = norm_;
  const float* expert_weights = routing_.slot_weights;
  if (pass.exchange != nullptr) {
    backend.GatherRows(dy, routing_.slot_tokens, rows * config_.experts_per_token, hidden, memory.travelling);
    pass.exchange->ToOwners(plan_, memory.travelling, hidden, memory.arrived, memory.owned_dy);
    expert_dy = memory.owned_dy;
    expert_input = owned_rows_;
    expert_weights = owned_weights_;
  }
  backend.MatMul(
      std::array{LinearInput(dy, hidden, w.Matrix(common_.down), memory.d_hidden, width, rows, width, hidden),
                 LinearWeight(dy, hidden, hidden_, width, w.Gradient(common_.down), rows, width, hidden)},
      std::array{OfExperts(pass, Kind::kInput, true, memory.d_slot_hidden, expert_dy),
                 OfExperts(pass, Kind::kWeight, true, slot_hidden_, expert_dy)},
      Slots(pass));
  backend.SwigluBackward(gate_up_, nullptr, memory.d_hidden, rows, width, memory.d_gate_up, nullptr);
  backend.SwigluBackward(slot_gate_up_, expert_weights, memory.d_slot_hidden, ExpertRows(pass),
                         config_.expert_width, memory.d_slot_gate_up, memory.slot_scale);

  const float* slot_scale = memory.slot_scale;
  if (pass.exchange != nullptr) {
    pass.exchange->ToSources(plan_, memory.slot_scale, 1, memory.arrived_scale, memory.returned_scale);
    slot_scale = memory.returned_scale;
  }
  backend.RouteBackward(router_shape_, routing_, slot_scale, rows, memory.d_logits);
  if (balance.alpha != 0) {
    backend.BalanceLoss(router_shape_, pass.batch, routing_.scores, balance.alpha, balance.factor,
                        memory.d_logits, balance.sums);
  }
  backend.MatMul(std::array{LinearInput(memory.d_gate_up, 2 * width, w.Matrix(common_.gate_up), memory.d_norm,
                                        hidden, rows, hidden, 2 * width),
                            LinearWeight(memory.d_gate_up, 2 * width, norm_, hidden,
                                         w.Gradient(common_.gate_up), rows, hidden, 2 * width),
                            LinearWeight(memory.d_logits, experts_, RouterInput(pass, memory, x), hidden,
                                         w.Gradient(router_), rows, hidden, experts_)},
                 std::array{OfExperts(pass, Kind::kInput, false, memory.d_slots, memory.d_slot_gate_up),
                            OfExperts(pass, Kind::kWeight, false, expert_input, memory.d_slot_gate_up)},
                 Slots(pass));
  backend.MatMul(std::array{LinearInput(memory.d_logits, experts_, w.Value(router_), memory.d_norm, hidden,
                                        rows, hidden, experts_, true)});
  Values d_slots = memory.d_slots;
  if (pass.exchange != nullptr) {
    pass.exchange->ToSources(plan_, memory.d_slots, hidden, memory.arrived, memory.travelling);
    d_slots = memory.travelling;
  }
  backend.GatherSum(routing_, d_slots, rows, config_.experts_per_token, hidden, memory.d_norm);
}

void FeedForwardBlock::AddLoads(std::int64_t* loads) const {
  for (int e = 0; e < experts_; ++e) loads[e] += host_offsets_[e + 1] - host_offsets_[e];
}

}  // namespace retort::student
