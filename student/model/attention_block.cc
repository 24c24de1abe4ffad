#include "student/model/attention_block.h"

#include <algorithm>
#include <array>

#include "student/ops/matmul.h"
#include "student/ops/rms_norm.h"

namespace retort::student {

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

AttentionTensors AttentionBlock::Tensors(std::int64_t rows) {
  return {q_.data(),
          kv_.data(),
          rope_key_.data(),
          attended_.Reserve(rows * shape_.heads * shape_.value),
          log_sum_.Reserve(rows * shape_.heads),
          rows};
}

// Everything before the attention proper, except keys and values: norm, queries, normalised latent, rotated
// rope key.
void AttentionBlock::Project(const Compute& compute, const ParameterSet& parameters, const RopeTable& rope,
                             const Rows& rows, const float* x) {
  const std::int64_t count = rows.count;
  const int n = static_cast<int>(count), hidden = config_.hidden, query_rank = config_.query_rank;
  const int query_width = shape_.heads * shape_.query();
  const auto weight = [&](int index, int in) { return MatrixView{Weight(parameters, index), in}; };
  const float epsilon = static_cast<float>(config_.rms_norm_epsilon);

  float* const norm = norm_.Reserve(count * hidden);
  RmsNorm(compute, x, hidden, Weight(parameters, input_norm_), count, hidden, epsilon, norm, hidden,
          norm_r_.Reserve(count));
  float* const kv_latent = kv_latent_.Reserve(count * kv_down_width_);
  float* const q = q_.Reserve(count * query_width);
  const MatrixProduct latent = LinearForward({norm, hidden}, weight(kv_down_, hidden), kv_latent,
                                             kv_down_width_, n, hidden, kv_down_width_);
  if (query_rank > 0) {
    float* const query_latent = query_latent_.Reserve(count * query_rank);
    float* const query_normed = query_normed_.Reserve(count * query_rank);
    MatMul(compute, std::array{latent, LinearForward({norm, hidden}, weight(query_down_, hidden),
                                                     query_latent, query_rank, n, hidden, query_rank)});
    RmsNorm(compute, query_latent, query_rank, Weight(parameters, query_norm_), count, query_rank, epsilon,
            query_normed, query_rank, query_r_.Reserve(count));
    MatMul(compute, LinearForward({query_normed, query_rank}, weight(query_up_, query_rank), q, query_width,
                                  n, query_rank, query_width));
  } else {
    MatMul(compute, std::array{latent, LinearForward({norm, hidden}, weight(query_up_, hidden), q,
                                                     query_width, n, hidden, query_width)});
  }
  RmsNorm(compute, kv_latent, kv_down_width_, Weight(parameters, kv_norm_), count, config_.kv_rank, epsilon,
          kv_normed_.Reserve(count * config_.kv_rank), config_.kv_rank, kv_r_.Reserve(count));
  float* const rope_key = rope_key_.Reserve(count * shape_.rope);
  for (std::int64_t t = 0; t < count; ++t) {
    std::copy_n(kv_latent + t * kv_down_width_ + config_.kv_rank, shape_.rope, rope_key + t * shape_.rope);
  }
  Rope(compute, rope, rows.positions, count, 1, false, rope_key, shape_.rope, shape_.rope);
  Rope(compute, rope, rows.positions, count, shape_.heads, false, q + shape_.nope, query_width,
       shape_.query());
}

void AttentionBlock::ProjectOut(const Compute& compute, const ParameterSet& parameters, std::int64_t rows,
                                const float* x, float* y) {
  const int width = shape_.heads * shape_.value, hidden = config_.hidden;
  std::copy_n(x, rows * hidden, y);
  MatrixProduct product = LinearForward({attended_.data(), width}, {Weight(parameters, out_), width}, y,
                                        hidden, static_cast<int>(rows), width, hidden);
  product.accumulate = true;
  MatMul(compute, product);
}

void AttentionBlock::Forward(const Compute& compute, const ParameterSet& parameters, const RopeTable& rope,
                             const Rows& rows, const float* x, float* y) {
  Project(compute, parameters, rope, rows, x);
  const int kv_width = shape_.heads * shape_.key_value();
  MatMul(compute,
         LinearForward({kv_normed_.data(), config_.kv_rank}, {Weight(parameters, kv_up_), config_.kv_rank},
                       kv_.Reserve(rows.count * kv_width), kv_width, static_cast<int>(rows.count),
                       config_.kv_rank, kv_width));
  Attention(compute, shape_, rows.documents, Tensors(rows.count));
  ProjectOut(compute, parameters, rows.count, x, y);
}

void AttentionBlock::Extend(const Compute& compute, const ParameterSet& parameters, const RopeTable& rope,
                            const Rows& rows, const float* x, LatentCache* cache, float* y) {
  Project(compute, parameters, rope, rows, x);
  const int before = cache->size(), total = before + static_cast<int>(rows.count);
  std::copy_n(kv_normed_.data(), rows.count * config_.kv_rank,
              cache->latents(layer_) + std::int64_t{before} * config_.kv_rank);
  std::copy_n(rope_key_.data(), rows.count * shape_.rope,
              cache->rope_keys(layer_) + std::int64_t{before} * shape_.rope);
  const int kv_width = shape_.heads * shape_.key_value();
  MatMul(
      compute,
      LinearForward({cache->latents(layer_), config_.kv_rank}, {Weight(parameters, kv_up_), config_.kv_rank},
                    kv_.Reserve(std::int64_t{total} * kv_width), kv_width, total, config_.kv_rank, kv_width));
  AttentionTensors tensors = Tensors(rows.count);
  tensors.rope_key = cache->rope_keys(layer_);
  const AttentionSpan span = {0, rows.count, 0, total};
  Attention(compute, shape_, std::span(&span, 1), tensors);
  ProjectOut(compute, parameters, rows.count, x, y);
}

void AttentionBlock::Backward(const Compute& compute, const ParameterSet& parameters, const RopeTable& rope,
                              const Rows& rows, const float* x, AttentionMemory* memory, float* dx,
                              Gradients* gradients) {
  const std::int64_t count = rows.count;
  const int n = static_cast<int>(count), hidden = config_.hidden, query_rank = config_.query_rank,
            kv_rank = config_.kv_rank;
  const int query_width = shape_.heads * shape_.query(), kv_width = shape_.heads * shape_.key_value();
  const int out_width = shape_.heads * shape_.value;
  // The two products of a linear layer's backward pass.
  const auto d_input = [&](const float* dy, int out, int index, float* d_in, int in, bool accumulate) {
    return LinearBackwardInput({dy, out}, {Weight(parameters, index), in}, d_in, in, n, in, out, accumulate);
  };
  const auto d_weight = [&](const float* dy, int out, int index, const float* input, int in) {
    return LinearBackwardWeight({dy, out}, {input, in}, Weight(gradients, index), in, n, in, out);
  };

  float* const d_out = memory->d_out.Reserve(count * out_width);
  MatMul(compute, std::array{d_input(dx, hidden, out_, d_out, out_width, false),
                             d_weight(dx, hidden, out_, attended_.data(), out_width)});
  float* const d_q = memory->d_q.Reserve(count * query_width);
  float* const d_kv = memory->d_kv.Reserve(count * kv_width);
  float* const d_rope_key = memory->d_rope_key.Reserve(count * shape_.rope);
  AttentionBackward(
      compute, shape_, rows.documents, Tensors(count),
      {d_out, d_q, d_kv, d_rope_key, memory->shares.Reserve(count * shape_.heads * shape_.rope)});
  Rope(compute, rope, rows.positions, count, shape_.heads, true, d_q + shape_.nope, query_width,
       shape_.query());
  Rope(compute, rope, rows.positions, count, 1, true, d_rope_key, shape_.rope, shape_.rope);

  float* const d_latent = memory->d_latent.Reserve(count * kv_rank);
  float* const d_norm = memory->d_norm.Reserve(count * hidden);
  const MatrixProduct latent = d_input(d_kv, kv_width, kv_up_, d_latent, kv_rank, false);
  const MatrixProduct kv_up = d_weight(d_kv, kv_width, kv_up_, kv_normed_.data(), kv_rank);
  float* d_query_down = nullptr;
  if (query_rank > 0) {
    float* const d_query_latent = memory->d_query_latent.Reserve(count * query_rank);
    MatMul(compute,
           std::array{latent, kv_up, d_input(d_q, query_width, query_up_, d_query_latent, query_rank, false),
                      d_weight(d_q, query_width, query_up_, query_normed_.data(), query_rank)});
    d_query_down = memory->d_query_down.Reserve(count * query_rank);
    std::fill_n(d_query_down, count * query_rank, 0.0f);
    RmsNormBackward(compute, query_latent_.data(), query_rank, Weight(parameters, query_norm_),
                    query_r_.data(), d_query_latent, query_rank, count, query_rank, d_query_down, query_rank,
                    Weight(gradients, query_norm_));
  } else {
    MatMul(compute, std::array{latent, kv_up, d_input(d_q, query_width, query_up_, d_norm, hidden, false),
                               d_weight(d_q, query_width, query_up_, norm_.data(), hidden)});
  }
  float* const d_kv_down = memory->d_kv_down.Reserve(count * kv_down_width_);
  for (std::int64_t t = 0; t < count; ++t) {
    std::fill_n(d_kv_down + t * kv_down_width_, kv_rank, 0.0f);
    std::copy_n(d_rope_key + t * shape_.rope, shape_.rope, d_kv_down + t * kv_down_width_ + kv_rank);
  }
  RmsNormBackward(compute, kv_latent_.data(), kv_down_width_, Weight(parameters, kv_norm_), kv_r_.data(),
                  d_latent, kv_rank, count, kv_rank, d_kv_down, kv_down_width_, Weight(gradients, kv_norm_));
  const MatrixProduct kv_down = d_weight(d_kv_down, kv_down_width_, kv_down_, norm_.data(), hidden);
  if (query_rank > 0) {
    MatMul(compute, std::array{kv_down, d_input(d_query_down, query_rank, query_down_, d_norm, hidden, false),
                               d_weight(d_query_down, query_rank, query_down_, norm_.data(), hidden)});
    MatMul(compute, d_input(d_kv_down, kv_down_width_, kv_down_, d_norm, hidden, true));
  } else {
    MatMul(compute, std::array{kv_down, d_input(d_kv_down, kv_down_width_, kv_down_, d_norm, hidden, true)});
  }
  RmsNormBackward(compute, x, hidden, Weight(parameters, input_norm_), norm_r_.data(), d_norm, hidden, count,
                  hidden, dx, hidden, Weight(gradients, input_norm_));
}

}  // namespace retort::student
