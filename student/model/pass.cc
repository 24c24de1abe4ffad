#include "student/model/pass.h"

#include <algorithm>
#include <utility>

namespace retort::student {
namespace {

constexpr std::int64_t kFloat = sizeof(float);

}  // namespace

PassFactors FactorsOf(const ModelConfig& config, const LossOptions& options, double inverse_valid_tokens) {
  if (config.prediction_layers == 0) return {inverse_valid_tokens, 0};
  return {inverse_valid_tokens, inverse_valid_tokens * options.prediction_weight / config.prediction_layers};
}

Pass::Pass(std::shared_ptr<const ParameterLayout> layout, Backend* backend)
    : layout_(std::move(layout)),
      config_(layout_->config()),
      backend_(backend),
      embedding_(Require(*layout_, "model.embed_tokens.weight")),
      final_norm_(Require(*layout_, "model.norm.weight")),
      head_(config_.tied_embeddings ? embedding_ : Require(*layout_, "lm_head.weight")),
      host_rope_(config_.rope_theta, config_.rope_head_dim, config_.context),
      residuals_(2 * config_.layers + 1) {
  for (int i = 0; i < config_.layers; ++i) {
    attention_.push_back(std::make_unique<AttentionBlock>(*layout_, i));
    feed_forward_.push_back(std::make_unique<FeedForwardBlock>(*layout_, i));
  }
  for (int k = 1; k <= config_.prediction_layers; ++k) {
    predictions_.push_back(std::make_unique<PredictionModule>(*layout_, k));
  }
  rope_ = {&host_rope_, host_rope_.cosines(0), host_rope_.sines(0)};
}

Pass::Pass(std::shared_ptr<const ParameterLayout> layout, Backend& backend)
    : Pass(std::move(layout), &backend) {}

Pass::~Pass() {
  if (backend_ != nullptr) backend_->Free(memory_);
}

void Pass::Plan(const PassSizes& sizes, Arena* arena) {
  const PassLimits& limits = sizes.limits;
  const std::int64_t rows = limits.positions, size = rows * config_.hidden;
  batch_memory_ = {.positions = arena->Take<std::int32_t>(rows),
                   .document_starts = arena->Take<std::int32_t>(limits.documents + 1),
                   .teacher_counts = arena->Take<std::int32_t>(rows),
                   .teacher_ids = arena->Take<std::int32_t>(rows * limits.teacher_k),
                   .teacher_logprobs = arena->Take<float>(rows * limits.teacher_k),
                   .teacher_tail_logprobs = arena->Take<float>(rows)};
  lesson_.Plan(limits, arena);
  rope_cosines_ = arena->Take<float>(RopeFloats());
  rope_sines_ = arena->Take<float>(RopeFloats());
  for (float*& residual : residuals_) residual = arena->Take<float>(size);
  norm_ = arena->Take(sizes.activation, size);
  norm_r_ = arena->Take<float>(rows);
  d_norm_ = dx_ = nullptr;
  if (sizes.backward) {
    d_norm_ = arena->Take<float>(size);
    dx_ = arena->Take<float>(size);
  }
  losses_ = {arena->Take<double>(limits.rows), arena->Take<double>(limits.rows),
             arena->Take<std::int32_t>(limits.rows)};
  // Without a backward pass there are no modules of multi-token prediction.
  const std::span modules(predictions_.data(), sizes.backward ? predictions_.size() : 0);
  shifted_.resize(modules.size());
  for (ShiftedLesson& lesson : shifted_) lesson.Plan(limits, arena);
  for (const auto& module : modules) module->PlanKept(sizes, arena);
  // Blocks that are computed again share one place for what they save.
  const std::int64_t saved = arena->mark();
  for (int i = 0; i < config_.layers; ++i) {
    attention_[i]->PlanSaved(sizes, arena);
    if (sizes.recompute) arena->Rewind(saved);
    feed_forward_[i]->PlanSaved(sizes, arena);
    if (sizes.recompute) arena->Rewind(saved);
  }
  for (const auto& module : modules) module->PlanSaved(sizes, arena);
  arena->SkipToEnd();
  const std::int64_t memory = arena->mark();
  if (sizes.backward) attention_memory_.Plan(config_, sizes, arena);
  arena->Rewind(memory);
  feed_forward_memory_.Plan(config_, sizes, arena);
  arena->Rewind(memory);
  if (!modules.empty()) prediction_memory_.Plan(config_, sizes, arena);
}

std::int64_t Pass::BytesNeeded(std::shared_ptr<const ParameterLayout> layout, const PassSizes& sizes) {
  Pass planned(std::move(layout), nullptr);
  Arena arena;
  planned.Plan(sizes, &arena);
  return arena.bytes();
}

bool Pass::Reserve(const PassSizes& wanted) {
  PassSizes sizes = wanted;
  if (memory_ != nullptr) {
    const PassLimits& had = reserved_.limits;
    sizes.limits = {std::max(had.positions, wanted.limits.positions), std::max(had.rows, wanted.limits.rows),
                    std::max(had.documents, wanted.limits.documents),
                    std::max(had.teacher_k, wanted.limits.teacher_k),
                    std::max(had.slots, wanted.limits.slots)};
    sizes.key_rows = std::max(reserved_.key_rows, wanted.key_rows);
    sizes.backward = reserved_.backward || wanted.backward;
    sizes.expert_ranks = std::max(reserved_.expert_ranks, wanted.expert_ranks);
    if (sizes == reserved_) return true;
  }
  assert(sizes.activation == backend_->activation());
  backend_->Free(memory_);
  memory_ = nullptr;
  Arena measured;
  Plan(sizes, &measured);
  memory_ = backend_->Allocate(measured.bytes());
  if (memory_ == nullptr || !backend_->Reserve(*layout_, sizes.limits)) return false;
  Arena arena(memory_);
  Plan(sizes, &arena);
  reserved_ = sizes;
  if (!backend_->host_memory()) {
    backend_->Upload(host_rope_.cosines(0), RopeFloats() * kFloat, rope_cosines_);
    backend_->Upload(host_rope_.sines(0), RopeFloats() * kFloat, rope_sines_);
    rope_ = {&host_rope_, rope_cosines_, rope_sines_};
  }
  return true;
}

void Pass::Lesson::Plan(const PassLimits& limits, Arena* arena) {
  tokens = arena->Take<std::int32_t>(limits.positions);
  targets = arena->Take<std::int32_t>(limits.positions);
  weights = arena->Take<float>(limits.positions);
  rows = arena->Take<std::int32_t>(limits.rows);
}

template <typename T>
const T* Pass::Place(const std::vector<T>& values, T* memory) {
  if (backend_->host_memory()) return values.data();
  if (!values.empty()) {
    backend_->Upload(values.data(), static_cast<std::int64_t>(values.size() * sizeof(T)), memory);
  }
  return memory;
}

void Pass::PlaceLesson(const PackedBatch& batch, Lesson* lesson) {
  lesson->host_rows.clear();
  for (std::int32_t t = 0; t < batch.size(); ++t) {
    if (batch.weights[t] != 0) lesson->host_rows.push_back(t);
  }
  assert(static_cast<std::int64_t>(lesson->host_rows.size()) <= reserved_.limits.rows);
  BatchTables& tables = lesson->tables;
  tables.host = &batch;
  tables.rows = static_cast<std::int64_t>(lesson->host_rows.size());
  tables.host_loss_rows = lesson->host_rows;
  tables.tokens = Place(batch.tokens, lesson->tokens);
  tables.targets = Place(batch.targets, lesson->targets);
  tables.weights = Place(batch.weights, lesson->weights);
  tables.loss_rows = Place(lesson->host_rows, lesson->rows);
}

const BatchTables& Pass::Upload(const PackedBatch& batch) {
  documents_.clear();
  for (std::size_t d = 0; d + 1 < batch.document_starts.size(); ++d) {
    const std::int64_t first = batch.document_starts[d], count = batch.document_starts[d + 1] - first;
    documents_.push_back({first, count, first, count});
  }
  [[maybe_unused]] const PassLimits& limits = reserved_.limits;
  assert(batch.size() <= limits.positions && static_cast<int>(documents_.size()) <= limits.documents &&
         batch.teacher_k <= limits.teacher_k);
  const BatchMemory& m = batch_memory_;
  BatchTables& tables = lesson_.tables;
  tables = {.host_documents = documents_,
            .positions = batch.size(),
            .token_positions = Place(batch.positions, m.positions),
            .document_starts = Place(batch.document_starts, m.document_starts)};
  for (std::size_t k = 0; k < shifted_.size(); ++k) {
    shifted_[k].tables = tables;
    shifted_[k].host = ShiftedBatch(batch, static_cast<int>(k) + 1);
    PlaceLesson(shifted_[k].host, &shifted_[k]);
  }
  PlaceLesson(batch, &lesson_);
  if (batch.teacher_k > 0) {
    tables.teacher_counts = Place(batch.teacher_counts, m.teacher_counts);
    tables.teacher_ids = Place(batch.teacher_ids, m.teacher_ids);
    tables.teacher_logprobs = Place(batch.teacher_logprobs, m.teacher_logprobs);
    tables.teacher_tail_logprobs = Place(batch.teacher_tail_logprobs, m.teacher_tail_logprobs);
  }
  backend_->BeginBatch(tables);
  return tables;
}

void Pass::FinalNorm(const WeightView& weights, std::int64_t rows) {
  backend_->RmsNorm(residuals_.back(), config_.hidden, weights.Value(final_norm_), rows, config_.hidden,
                    static_cast<float>(config_.rms_norm_epsilon), norm_, config_.hidden, norm_r_);
}

void Pass::Forward(const WeightView& weights, const BatchTables& batch) {
  const PassContext pass = Context(weights, batch);
  backend_->Embed(weights.Value(embedding_), batch, config_.hidden, residuals_[0]);
  for (int i = 0; i < config_.layers; ++i) {
    attention_[i]->Forward(pass, residuals_[2 * i], residuals_[2 * i + 1]);
    feed_forward_[i]->Forward(pass, feed_forward_memory_, residuals_[2 * i + 1], residuals_[2 * i + 2]);
  }
  FinalNorm(weights, batch.positions);
  predicted_ = weights.gradients != nullptr && !predictions_.empty();
  if (!predicted_) return;
  assert(reserved_.backward);
  const float* h = residuals_.back();
  for (std::size_t k = 0; k < predictions_.size(); ++k) {
    predictions_[k]->Forward(Context(weights, shifted_[k].tables), prediction_memory_, feed_forward_memory_,
                             h);
    h = predictions_[k]->output();
  }
}

void Pass::Extend(const WeightView& weights, const BatchTables& batch, LatentCache* cache) {
  const PassContext pass = Context(weights, batch);
  backend_->Embed(weights.Value(embedding_), batch, config_.hidden, residuals_[0]);
  for (int i = 0; i < config_.layers; ++i) {
    attention_[i]->Extend(pass, residuals_[2 * i], cache, residuals_[2 * i + 1]);
    feed_forward_[i]->Forward(pass, feed_forward_memory_, residuals_[2 * i + 1], residuals_[2 * i + 2]);
  }
  FinalNorm(weights, batch.positions);
}

void Pass::HeadBackward(const WeightView& weights, const BatchTables& batch, const HeadInput& input,
                        float ce_weight, const double* factor, HeadSums* sums) {
  const int hidden = config_.hidden;
  backend_->Zero(d_norm_, batch.positions * hidden * kFloat);
  backend_->HeadLoss({input.normed,
                      weights.Matrix(head_),
                      config_.vocabulary,
                      hidden,
                      d_norm_,
                      weights.Gradient(head_),
                      ce_weight,
                      factor,
                      {losses_.cross_entropy, losses_.divergence, nullptr},
                      sums},
                     batch);
  backend_->RmsNormBackward(input.x, hidden, weights.Value(input.norm), input.r, d_norm_, hidden,
                            batch.positions, hidden, dx_, hidden, weights.Gradient(input.norm));
}

void Pass::Backward(const WeightView& weights, const BatchTables& batch, const LossOptions& options,
                    const PassFactors* factors, PassSums* sums, const LayerDone& done) {
  assert(reserved_.backward && weights.gradients != nullptr && predicted_ == !predictions_.empty());
  const PassContext pass = Context(weights, batch);
  const int hidden = config_.hidden;
  const BalanceTerm balance = {options.balance_weight, &factors->token, &sums->balance};
  backend_->Zero(dx_, batch.positions * hidden * kFloat);
  for (int k = config_.prediction_layers - 1; k >= 0; --k) {
    PredictionModule& module = *predictions_[k];
    const PassContext shifted = Context(weights, shifted_[k].tables);
    const PredictionMemory& memory = prediction_memory_;
    backend_->RmsNorm(module.output(), hidden, weights.Value(module.head_norm()), batch.positions, hidden,
                      static_cast<float>(config_.rms_norm_epsilon), memory.normed, hidden, memory.normed_r);
    HeadBackward(weights, shifted.batch,
                 {module.output(), module.head_norm(), memory.normed, memory.normed_r},
                 /*ce_weight=*/1.0f, &factors->prediction, &sums->predictions);
    module.Backward(shifted, memory, attention_memory_, feed_forward_memory_, balance, reserved_.recompute,
                    k > 0 ? predictions_[k - 1]->output() : residuals_.back(), dx_);
    if (done) done(config_.layers + k + 1);
  }
  HeadBackward(weights, batch, {residuals_.back(), final_norm_, norm_, norm_r_}, options.ce_weight,
               &factors->token, &sums->head);
  if (done) done(config_.layers);
  for (int i = config_.layers - 1; i >= 0; --i) {
    const float *const x = residuals_[2 * i], *const y = residuals_[2 * i + 1];
    if (reserved_.recompute) feed_forward_[i]->Recompute(pass, feed_forward_memory_, y);
    feed_forward_[i]->Backward(pass, y, feed_forward_memory_, balance, dx_);
    if (reserved_.recompute) attention_[i]->Recompute(pass, x);
    attention_[i]->Backward(pass, x, attention_memory_, dx_);
    if (done) done(i);
  }
  backend_->EmbedBackward(batch, dx_, config_.vocabulary, hidden, weights.Gradient(embedding_));
  if (done) done(-1);
}

TokenLosses Pass::Measure(const WeightView& weights, const BatchTables& batch, float ce_weight,
                          const double* factor, PassSums* sums) {
  backend_->HeadLoss({norm_, weights.Matrix(head_), config_.vocabulary, config_.hidden, nullptr, nullptr,
                      ce_weight, factor, losses_, &sums->head},
                     batch);
  return losses_;
}

void Pass::AddLoads(std::span<std::int64_t> loads) const {
  assert(static_cast<int>(loads.size()) == config_.moe_layers() * config_.experts);
  std::int64_t* next = loads.data();
  for (const auto& block : feed_forward_) {
    if (!block->routed()) continue;
    block->AddLoads(next);
    next += config_.experts;
  }
  if (!predicted_) return;
  for (const auto& module : predictions_) {
    module->AddLoads(next);
    next += config_.experts;
  }
}

}  // namespace retort::student
