#include "student/inference/llama_forward.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace retort::student {
namespace {

int32_t RoundUp(int32_t value, int32_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

size_t PaddedRows(const PackedMatrix& matrix) {
  return static_cast<size_t>(matrix.tiles()) * kTileRows;
}

}  // namespace

LlamaCache::LlamaCache(const LlamaConfig& config, int32_t context)
    : context_(RoundUp(context, kKeyBlock)), kv_heads_(config.kv_heads), head_dim_(config.head_dim) {
  const size_t positions = static_cast<size_t>(config.layers) * config.kv_heads * context_;
  keys_.resize(positions * head_dim_);
  values_.resize(positions * head_dim_);
  key_scales_.resize(positions);
  value_scales_.resize(positions);
}

KvHeadView LlamaCache::Head(int32_t layer, int32_t kv_head) {
  const size_t position = (static_cast<size_t>(layer) * kv_heads_ + kv_head) * context_;
  return {keys_.data() + position * head_dim_, key_scales_.data() + position,
          values_.data() + position * head_dim_, value_scales_.data() + position};
}

LlamaForward::LlamaForward(const LlamaModel& model, int32_t rows_max, int32_t context, StepCrew& crew,
                           const CpuKernels& kernels)
    : model_(model),
      config_(model.config()),
      kernels_(kernels),
      crew_(crew),
      context_(context),
      x_(static_cast<size_t>(rows_max) * config_.width),
      delta_(rows_max * PaddedRows(model.layers()[0].down)),
      qkv_(rows_max * PaddedRows(model.layers()[0].qkv)),
      gate_up_(rows_max * PaddedRows(model.layers()[0].gate_up)),
      attention_(x_.size()),
      normed_(rows_max, config_.width),
      attended_(rows_max, config_.width),
      hidden_(rows_max, config_.ffn_width) {
  const int32_t half = config_.head_dim / 2;
  cos_.resize(static_cast<size_t>(context) * half);
  sin_.resize(cos_.size());
  for (int32_t i = 0; i < half; ++i) {
    // In fp32 up to the angle, as the model was trained; sine and cosine of that angle in fp64.
    const float frequency =
        1.0f / std::pow(config_.rope_base, static_cast<float>(2 * i) / static_cast<float>(config_.head_dim));
    for (int32_t position = 0; position < context; ++position) {
      const double angle = static_cast<float>(position) * frequency;
      cos_[static_cast<size_t>(position) * half + i] = static_cast<float>(std::cos(angle));
      sin_[static_cast<size_t>(position) * half + i] = static_cast<float>(std::sin(angle));
    }
  }
  const int32_t group = config_.heads / config_.kv_heads;
  const size_t attention = static_cast<size_t>(group) * RoundUp(context, kKeyBlock);
  scratch_floats_ = std::max<size_t>(
      {attention, static_cast<size_t>(config_.width), static_cast<size_t>(config_.ffn_width)});
  scratch_.resize(scratch_floats_ * crew.threads());
}

void LlamaForward::Run(std::span<const LlamaRow> rows) {
  const int32_t count = static_cast<int32_t>(rows.size());
  assert(count <= normed_.rows_max());
  if (rows.empty()) return;
  EachRow(count, [&](int32_t m, int32_t worker) {
    assert(rows[m].position >= 0 && rows[m].position < std::min(context_, rows[m].cache->context()));
    model_.Embed(rows[m].token, x_.data() + static_cast<size_t>(m) * config_.width);
    AddAndNorm(m, false, &model_.layers()[0].attention_norm, worker);
  });
  for (int32_t layer = 0; layer < config_.layers; ++layer) {
    Attention(rows, layer);
    FeedForward(rows, layer);
  }
  Logits(rows);
}

template <typename Body>
void LlamaForward::EachRow(int32_t count, const Body& body) {
  const int32_t chunk = count >= kGroupRows * crew_.threads() ? kGroupRows : 1;
  crew_.Run((count + chunk - 1) / chunk, [&](int32_t task, int32_t worker) {
    for (int32_t m = task * chunk; m < std::min(count, (task + 1) * chunk); ++m) body(m, worker);
  });
}

void LlamaForward::AddAndNorm(int32_t m, bool add, const std::vector<float>* weight, int32_t worker) {
  float* x = x_.data() + static_cast<size_t>(m) * config_.width;
  float* scratch = scratch_.data() + worker * scratch_floats_;
  if (add) kernels_.add(x, delta_.data() + m * PaddedRows(model_.layers()[0].down), config_.width);
  if (weight == nullptr) return;
  kernels_.rms_norm(x, weight->data(), config_.rms_epsilon, config_.width, scratch);
  normed_.Set(m, scratch, kernels_);
}

void LlamaForward::Attention(std::span<const LlamaRow> rows, int32_t layer) {
  const LlamaLayer& weights = model_.layers()[layer];
  const int32_t count = static_cast<int32_t>(rows.size());
  const int32_t head_dim = config_.head_dim, group = config_.heads / config_.kv_heads;
  const size_t stride = PaddedRows(weights.qkv);
  Multiply(weights.qkv, normed_, count, qkv_);
  // All keys of the step must be stored before any row attends: a prompt's later rows see its earlier ones.
  crew_.Run(count, [&](int32_t m, int32_t) {
    float* q = qkv_.data() + m * stride;
    const size_t angle = static_cast<size_t>(rows[m].position) * (head_dim / 2);
    kernels_.rotate(q, config_.heads + config_.kv_heads, head_dim, cos_.data() + angle, sin_.data() + angle);
    for (int32_t h = 0; h < config_.kv_heads; ++h) {
      const float* key = q + static_cast<size_t>(config_.heads + h) * head_dim;
      const float* value = key + static_cast<size_t>(config_.kv_heads) * head_dim;
      kernels_.store_kv(key, value, head_dim, rows[m].position, rows[m].cache->Head(layer, h));
    }
  });
  crew_.Run(count, [&](int32_t m, int32_t worker) {
    const float* q = qkv_.data() + m * stride;
    float* out = attention_.data() + static_cast<size_t>(m) * config_.width;
    float* scores = scratch_.data() + worker * scratch_floats_;
    for (int32_t h = 0; h < config_.kv_heads; ++h) {
      const size_t at = static_cast<size_t>(h) * group * head_dim;
      kernels_.attend(q + at, group, head_dim, rows[m].position, rows[m].cache->Head(layer, h), scores,
                      out + at);
    }
  });
  EachRow(count, [&](int32_t m, int32_t) {
    attended_.Set(m, attention_.data() + static_cast<size_t>(m) * config_.width, kernels_);
  });
  Multiply(weights.output, attended_, count, delta_);
  EachRow(count, [&](int32_t m, int32_t worker) { AddAndNorm(m, true, &weights.ffn_norm, worker); });
}

void LlamaForward::FeedForward(std::span<const LlamaRow> rows, int32_t layer) {
  const LlamaLayer& weights = model_.layers()[layer];
  const int32_t count = static_cast<int32_t>(rows.size());
  const size_t stride = PaddedRows(weights.gate_up);
  Multiply(weights.gate_up, normed_, count, gate_up_);
  EachRow(count, [&](int32_t m, int32_t worker) {
    float* hidden = scratch_.data() + worker * scratch_floats_;
    const float* gate = gate_up_.data() + m * stride;
    kernels_.silu_multiply(gate, gate + config_.ffn_width, config_.ffn_width, hidden);
    hidden_.Set(m, hidden, kernels_);
  });
  Multiply(weights.down, hidden_, count, delta_);
  // After the last layer the sum is all that is left to do here: Logits has a norm of its own.
  const bool last = layer + 1 == config_.layers;
  const std::vector<float>* norm = last ? nullptr : &model_.layers()[layer + 1].attention_norm;
  EachRow(count, [&](int32_t m, int32_t worker) { AddAndNorm(m, true, norm, worker); });
}

void LlamaForward::Logits(std::span<const LlamaRow> rows) {
  wanted_.clear();
  for (size_t m = 0; m < rows.size(); ++m) {
    if (rows[m].wants_logits) wanted_.push_back(static_cast<int32_t>(m));
  }
  const int32_t count = static_cast<int32_t>(wanted_.size());
  EachRow(count, [&](int32_t i, int32_t worker) {
    float* scratch = scratch_.data() + worker * scratch_floats_;
    const float* x = x_.data() + static_cast<size_t>(wanted_[i]) * config_.width;
    kernels_.rms_norm(x, model_.output_norm().data(), config_.rms_epsilon, config_.width, scratch);
    normed_.Set(i, scratch, kernels_);
  });
  const size_t floats = wanted_.size() * PaddedRows(model_.head());
  if (logits_.size() < floats) logits_.resize(floats);
  Multiply(model_.head(), normed_, count, logits_);
}

std::span<const float> LlamaForward::LogitsOf(size_t m) const {
  const auto it = std::lower_bound(wanted_.begin(), wanted_.end(), static_cast<int32_t>(m));
  assert(it != wanted_.end() && *it == static_cast<int32_t>(m));
  const size_t at = static_cast<size_t>(it - wanted_.begin()) * PaddedRows(model_.head());
  return {logits_.data() + at, static_cast<size_t>(config_.vocabulary)};
}

void LlamaForward::Multiply(const PackedMatrix& matrix, const Activations& x, int32_t rows,
                            std::vector<float>& y) {
  if (rows == 0) return;
  // Few rows are multiplied four tiles at a time. Large matrices are shared out in larger pieces.
  const int32_t tiles = matrix.tiles();
  const int32_t chunk = std::max(rows <= 2 ? 4 : 2, tiles / 64 / 4 * 4);
  const ActivationView view = x.View(rows);
  crew_.Run((tiles + chunk - 1) / chunk, [&](int32_t task, int32_t) {
    matrix.Multiply(view, task * chunk, std::min(tiles, (task + 1) * chunk), y.data(), PaddedRows(matrix),
                    kernels_);
  });
}

}  // namespace retort::student
