#include "student/model/prediction_module.h"

#include <array>
#include <string>

namespace retort::student {
namespace {

std::string NameInModule(const ParameterLayout& layout, int depth, const char* tensor) {
  return "model.layers." + std::to_string(layout.config().layers + depth - 1) + "." + tensor;
}

}  // namespace

void PredictionMemory::Plan(const ModelConfig& c, const PassSizes& sizes, Arena* arena) {
  const std::int64_t rows = sizes.limits.positions;
  embedded = arena->Take<float>(rows * c.hidden);
  d_embedded = arena->Take<float>(rows * c.hidden);
  d_joined = arena->Take<float>(rows * 2 * c.hidden);
  normed = arena->Take(sizes.activation, rows * c.hidden);
  normed_r = arena->Take<float>(rows);
  dy = arena->TakeConverted(sizes.activation, rows * c.hidden);
}

PredictionModule::PredictionModule(const ParameterLayout& layout, int depth)
    : config_(layout.config()),
      embedding_(Require(layout, "model.embed_tokens.weight")),
      embedded_norm_(Require(layout, NameInModule(layout, depth, "enorm.weight"))),
      hidden_norm_(Require(layout, NameInModule(layout, depth, "hnorm.weight"))),
      join_(Require(layout, NameInModule(layout, depth, "eh_proj.weight"))),
      head_norm_(Require(layout, NameInModule(layout, depth, "shared_head.norm.weight"))),
      attention_(layout, config_.layers + depth - 1),
      feed_forward_(layout, config_.layers + depth - 1) {}

void PredictionModule::PlanKept(const PassSizes& sizes, Arena* arena) {
  const std::int64_t rows = sizes.limits.positions;
  joined_ = arena->Take(sizes.activation, rows * 2 * config_.hidden);
  embedded_r_ = arena->Take<float>(rows);
  hidden_r_ = arena->Take<float>(rows);
  for (float** stream : {&input_, &middle_, &output_}) *stream = arena->Take<float>(rows * config_.hidden);
}

void PredictionModule::PlanSaved(const PassSizes& sizes, Arena* arena) {
  const std::int64_t begin = arena->mark();
  attention_.PlanSaved(sizes, arena);
  if (sizes.recompute) arena->Rewind(begin);
  feed_forward_.PlanSaved(sizes, arena);
  if (sizes.recompute) arena->Rewind(begin);
}

void PredictionModule::Forward(const PassContext& pass, const PredictionMemory& memory,
                               const FeedForwardMemory& feed_forward_memory, const float* h) {
  Backend& backend = pass.backend;
  const WeightView& w = pass.weights;
  const std::int64_t rows = pass.batch.positions;
  const int hidden = config_.hidden;
  const float epsilon = static_cast<float>(config_.rms_norm_epsilon);
  backend.Embed(w.Value(embedding_), pass.batch, hidden, memory.embedded);
  backend.RmsNorm(memory.embedded, hidden, w.Value(embedded_norm_), rows, hidden, epsilon, joined_,
                  2 * hidden, embedded_r_);
  backend.RmsNorm(h, hidden, w.Value(hidden_norm_), rows, hidden, epsilon, joined_.at(hidden), 2 * hidden,
                  hidden_r_);
  backend.MatMul(
      std::array{Linear(joined_, 2 * hidden, w.Matrix(join_), input_, hidden, rows, 2 * hidden, hidden)});
  attention_.Forward(pass, input_, middle_);
  feed_forward_.Forward(pass, feed_forward_memory, middle_, output_);
}

void PredictionModule::Backward(const PassContext& pass, const PredictionMemory& memory,
                                const AttentionMemory& attention_memory,
                                const FeedForwardMemory& feed_forward_memory, const BalanceTerm& balance,
                                bool recompute, const float* h, float* dx) {
  Backend& backend = pass.backend;
  const WeightView& w = pass.weights;
  const std::int64_t rows = pass.batch.positions;
  const int hidden = config_.hidden;
  const std::int64_t bytes = rows * hidden * static_cast<std::int64_t>(sizeof(float));
  if (recompute) feed_forward_.Recompute(pass, feed_forward_memory, middle_);
  feed_forward_.Backward(pass, middle_, feed_forward_memory, balance, dx);
  if (recompute) attention_.Recompute(pass, input_);
  attention_.Backward(pass, input_, attention_memory, dx);

  const Values dy = backend.Convert(dx, rows * hidden, memory.dy);
  backend.MatMul(std::array{
      LinearInput(dy, hidden, w.Matrix(join_), memory.d_joined, 2 * hidden, rows, 2 * hidden, hidden),
      LinearWeight(dy, hidden, joined_, 2 * hidden, w.Gradient(join_), rows, 2 * hidden, hidden)});
  backend.Embed(w.Value(embedding_), pass.batch, hidden, memory.embedded);
  backend.Zero(memory.d_embedded, bytes);
  backend.RmsNormBackward(memory.embedded, hidden, w.Value(embedded_norm_), embedded_r_, memory.d_joined,
                          2 * hidden, rows, hidden, memory.d_embedded, hidden, w.Gradient(embedded_norm_));
  backend.EmbedBackward(pass.batch, memory.d_embedded, config_.vocabulary, hidden, w.Gradient(embedding_));
  backend.Zero(dx, bytes);
  backend.RmsNormBackward(h, hidden, w.Value(hidden_norm_), hidden_r_, memory.d_joined + hidden, 2 * hidden,
                          rows, hidden, dx, hidden, w.Gradient(hidden_norm_));
}

}  // namespace retort::student
