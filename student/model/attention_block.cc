#include "student/model/attention_block.h"

#include <algorithm>
#include <array>

namespace retort::student {

void AttentionMemory::Plan(const ModelConfig& c, const PassSizes& sizes, Arena* arena) {
  const std::int64_t rows = sizes.limits.positions;
  const Element element = sizes.activation;
  dy = arena->TakeConverted(element, rows * c.hidden);
  d_out = arena->Take(element, rows * c.heads * c.value_head_dim);
  d_q = arena->Take(element, rows * c.heads * c.query_head_dim());
  d_kv = arena->Take(element, rows * c.heads * (c.nope_head_dim + c.value_head_dim));
  d_rope_key = arena->Take(element, rows * c.rope_head_dim);
  d_query_latent = arena->Take<float>(rows * c.query_rank);
  d_query_down = arena->Take<float>(rows * c.query_rank);
  d_query_down_rounded = arena->TakeConverted(element, rows * c.query_rank);
  d_latent = arena->Take<float>(rows * c.kv_rank);
  d_kv_down = arena->Take<float>(rows * (c.kv_rank + c.rope_head_dim));
  d_kv_down_rounded = arena->TakeConverted(element, rows * (c.kv_rank + c.rope_head_dim));
  d_norm = arena->Take<float>(rows * c.hidden);
}

AttentionBlock::AttentionBlock(const ParameterLayout& layout, int layer)
    : config_(layout.config()),
      layer_(layer),
      shape_{config_.heads, config_.nope_head_dim, config_.rope_head_dim, config_.value_head_dim},
      kv_down_width_(config_.kv_rank + config_.rope_head_dim) {
  const std::string name = "model.layers." + std::to_string(layer);
  const std::string attention = name + ".self_attn.";
  input_norm_ = Require(layout, name + ".input_layernorm.weight");
  if (config_.query_rank > 0) {
    query_down_ = Require(layout, attention + "q_a_proj.weight");
    query_norm_ = Require(layout, attention + "q_a_layernorm.weight");
    query_up_ = Require(layout, attention + "q_b_proj.weight");
  } else {
    query_up_ = Require(layout, attention + "q_proj.weight");
  }
  kv_down_ = Require(layout, attention + "kv_a_proj_with_mqa.weight");
  kv_norm_ = Require(layout, attention + "kv_a_layernorm.weight");
  kv_up_ = Require(layout, attention + "kv_b_proj.weight");
  out_ = Require(layout, attention + "o_proj.weight");
}

void AttentionBlock::PlanSaved(const PassSizes& sizes, Arena* arena) {
  const std::int64_t rows = sizes.limits.positions;
  const Element element = sizes.activation;
  norm_ = arena->Take(element, rows * config_.hidden);
  query_normed_ = arena->Take(element, rows * config_.query_rank);
  kv_normed_ = arena->Take(element, rows * config_.kv_rank);
  rope_key_ = arena->Take(element, rows * shape_.rope);
  q_ = arena->Take(element, rows * shape_.heads * shape_.query());
  kv_ = arena->Take(element, std::max(rows, sizes.key_rows) * shape_.heads * shape_.key_value());
  attended_ = arena->Take(element, rows * shape_.heads * shape_.value);
  query_latent_ = arena->Take<float>(rows * config_.query_rank);
  kv_latent_ = arena->Take<float>(rows * kv_down_width_);
  log_sum_ = arena->Take<float>(rows * shape_.heads);
  norm_r_ = arena->Take<float>(rows);
  query_r_ = arena->Take<float>(rows);
  kv_r_ = arena->Take<float>(rows);
}

AttentionValues AttentionBlock::Tensors(const PassContext& pass) const {
  return {q_, kv_, rope_key_, attended_, log_sum_, pass.batch.positions};
}

// Everything before the attention proper, except keys and values: norm, queries, normalised latent, rotated
// rope key.
void AttentionBlock::Project(const PassContext& pass, const float* x) {
  Backend& backend = pass.backend;
  const WeightView& w = pass.weights;
  const std::int64_t rows = pass.batch.positions;
  const int hidden = config_.hidden, query_rank = config_.query_rank;
  const int query_width = shape_.heads * shape_.query();
  const float epsilon = static_cast<float>(config_.rms_norm_epsilon);

  backend.RmsNorm(x, hidden, w.Value(input_norm_), rows, hidden, epsilon, norm_, hidden, norm_r_);
  const Product latent =
      Linear(norm_, hidden, w.Matrix(kv_down_), kv_latent_, kv_down_width_, rows, hidden, kv_down_width_);
  if (query_rank > 0) {
    backend.MatMul(std::array{latent, Linear(norm_, hidden, w.Matrix(query_down_), query_latent_, query_rank,
                                             rows, hidden, query_rank)});
    backend.RmsNorm(query_latent_, query_rank, w.Value(query_norm_), rows, query_rank, epsilon, query_normed_,
                    query_rank, query_r_);
    backend.MatMul(std::array{Linear(query_normed_, query_rank, w.Matrix(query_up_), q_, query_width, rows,
                                     query_rank, query_width)});
  } else {
    backend.MatMul(std::array{
        latent, Linear(norm_, hidden, w.Matrix(query_up_), q_, query_width, rows, hidden, query_width)});
  }
  backend.RmsNorm(kv_latent_, kv_down_width_, w.Value(kv_norm_), rows, config_.kv_rank, epsilon, kv_normed_,
                  config_.kv_rank, kv_r_);
  backend.CopyColumns(Values(kv_latent_).at(config_.kv_rank), kv_down_width_, rope_key_, shape_.rope, rows,
                      shape_.rope);
  const std::int32_t* positions = pass.batch.token_positions;
  backend.Rope(pass.rope, positions, rows, 1, false, rope_key_, shape_.rope, shape_.rope);
  backend.Rope(pass.rope, positions, rows, shape_.heads, false, q_.at(shape_.nope), query_width,
               shape_.query());
}

void AttentionBlock::Attend(const PassContext& pass) {
  const int kv_width = shape_.heads * shape_.key_value();
  pass.backend.MatMul(std::array{Linear(kv_normed_, config_.kv_rank, pass.weights.Matrix(kv_up_), kv_,
                                        kv_width, pass.batch.positions, config_.kv_rank, kv_width)});
  pass.backend.Attention(shape_, pass.batch, Tensors(pass));
}

void AttentionBlock::ProjectOut(const PassContext& pass, const float* x, float* y) {
  const int width = shape_.heads * shape_.value, hidden = config_.hidden;
  const std::int64_t rows = pass.batch.positions;
  pass.backend.Copy(x, rows * hidden * static_cast<std::int64_t>(sizeof(float)), y);
  pass.backend.MatMul(
      std::array{Linear(attended_, width, pass.weights.Matrix(out_), y, hidden, rows, width, hidden, true)});
}

void AttentionBlock::Forward(const PassContext& pass, const float* x, float* y) {
  Project(pass, x);
  Attend(pass);
  ProjectOut(pass, x, y);
}

void AttentionBlock::Recompute(const PassContext& pass, const float* x) {
  Project(pass, x);
  Attend(pass);
}

void AttentionBlock::Extend(const PassContext& pass, const float* x, LatentCache* cache, float* y) {
  assert(pass.backend.host_memory());
  Project(pass, x);
  const std::int64_t rows = pass.batch.positions, before = cache->size(), total = before + rows;
  const int kv_rank = config_.kv_rank, kv_width = shape_.heads * shape_.key_value();
  std::copy_n(kv_normed_.f32(), rows * kv_rank, cache->latents(layer_) + before * kv_rank);
  std::copy_n(rope_key_.f32(), rows * shape_.rope, cache->rope_keys(layer_) + before * shape_.rope);
  pass.backend.MatMul(std::array{Linear(cache->latents(layer_), kv_rank, pass.weights.Matrix(kv_up_), kv_,
                                        kv_width, total, kv_rank, kv_width)});
  AttentionValues tensors = Tensors(pass);
  tensors.rope_key = cache->rope_keys(layer_);
  pass.backend.Attention(shape_, pass.batch, tensors);
  ProjectOut(pass, x, y);
}

void AttentionBlock::Backward(const PassContext& pass, const float* x, const AttentionMemory& memory,
                              float* dx) {
  Backend& backend = pass.backend;
  const WeightView& w = pass.weights;
  const std::int64_t rows = pass.batch.positions;
  const int hidden = config_.hidden, query_rank = config_.query_rank, kv_rank = config_.kv_rank;
  const int query_width = shape_.heads * shape_.query(), kv_width = shape_.heads * shape_.key_value();
  const int out_width = shape_.heads * shape_.value;
  // The two products of a linear layer's backward pass.
  const auto d_input = [&](Values dy, int out, int index, Values d_in, int in, bool accumulate) {
    return LinearInput(dy, out, w.Matrix(index), d_in, in, rows, in, out, accumulate);
  };
  const auto d_weight = [&](Values dy, int out, int index, Values input, int in) {
    return LinearWeight(dy, out, input, in, w.Gradient(index), rows, in, out);
  };

  const Values dy = backend.Convert(dx, rows * hidden, memory.dy);
  backend.MatMul(std::array{d_input(dy, hidden, out_, memory.d_out, out_width, false),
                            d_weight(dy, hidden, out_, attended_, out_width)});
  backend.AttentionBackward(shape_, pass.batch, Tensors(pass),
                            {memory.d_out, memory.d_q, memory.d_kv, memory.d_rope_key});
  const std::int32_t* positions = pass.batch.token_positions;
  backend.Rope(pass.rope, positions, rows, shape_.heads, true, memory.d_q.at(shape_.nope), query_width,
               shape_.query());
  backend.Rope(pass.rope, positions, rows, 1, true, memory.d_rope_key, shape_.rope, shape_.rope);

  float* const d_norm = memory.d_norm;
  const Product latent = d_input(memory.d_kv, kv_width, kv_up_, memory.d_latent, kv_rank, false);
  const Product kv_up = d_weight(memory.d_kv, kv_width, kv_up_, kv_normed_, kv_rank);
  Values d_query_down;
  if (query_rank > 0) {
    backend.MatMul(std::array{
        latent, kv_up, d_input(memory.d_q, query_width, query_up_, memory.d_query_latent, query_rank, false),
        d_weight(memory.d_q, query_width, query_up_, query_normed_, query_rank)});
    backend.Zero(memory.d_query_down, rows * query_rank * static_cast<std::int64_t>(sizeof(float)));
    backend.RmsNormBackward(query_latent_, query_rank, w.Value(query_norm_), query_r_, memory.d_query_latent,
                            query_rank, rows, query_rank, memory.d_query_down, query_rank,
                            w.Gradient(query_norm_));
    d_query_down = backend.Convert(memory.d_query_down, rows * query_rank, memory.d_query_down_rounded);
  } else {
    backend.MatMul(std::array{latent, kv_up,
                              d_input(memory.d_q, query_width, query_up_, d_norm, hidden, false),
                              d_weight(memory.d_q, query_width, query_up_, norm_, hidden)});
  }
  backend.Zero(memory.d_kv_down, rows * kv_down_width_ * static_cast<std::int64_t>(sizeof(float)));
  backend.CopyColumns(memory.d_rope_key, shape_.rope, Values(memory.d_kv_down).at(kv_rank), kv_down_width_,
                      rows, shape_.rope);
  backend.RmsNormBackward(kv_latent_, kv_down_width_, w.Value(kv_norm_), kv_r_, memory.d_latent, kv_rank,
                          rows, kv_rank, memory.d_kv_down, kv_down_width_, w.Gradient(kv_norm_));
  const Values d_kv_down = backend.Convert(memory.d_kv_down, rows * kv_down_width_, memory.d_kv_down_rounded);
  const Product kv_down = d_weight(d_kv_down, kv_down_width_, kv_down_, norm_, hidden);
  if (query_rank > 0) {
    backend.MatMul(std::array{kv_down, d_input(d_query_down, query_rank, query_down_, d_norm, hidden, false),
                              d_weight(d_query_down, query_rank, query_down_, norm_, hidden)});
    backend.MatMul(std::array{d_input(d_kv_down, kv_down_width_, kv_down_, d_norm, hidden, true)});
  } else {
    backend.MatMul(std::array{kv_down, d_input(d_kv_down, kv_down_width_, kv_down_, d_norm, hidden, true)});
  }
  backend.RmsNormBackward(x, hidden, w.Value(input_norm_), norm_r_, d_norm, hidden, rows, hidden, dx, hidden,
                          w.Gradient(input_norm_));
}

}  // namespace retort::student
