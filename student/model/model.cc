#include "student/model/model.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <numeric>

#include "student/device/cpu_backend.h"
#include "student/model/pass.h"
#include "student/ops/matmul.h"

namespace retort::student {

class Model::Impl {
 public:
  Impl(const ModelConfig& config, ThreadPool& pool, Isa isa)
      : layout_(ParameterLayout::Create(config)),
        config_(layout_->config()),
        scratch_(pool.size()),
        compute_{&pool, &scratch_, isa},
        backend_(MakeCpuBackend(pool, isa)),
        pass_(layout_, *backend_),
        embedding_(Require(*layout_, "model.embed_tokens.weight")),
        head_(config.tied_embeddings ? embedding_ : Require(*layout_, "lm_head.weight")) {}

  const std::shared_ptr<const ParameterLayout>& layout() const { return layout_; }
  const ModelConfig& config() const { return config_; }

  BatchResult AccumulateGradients(const ParameterSet& parameters, const PackedBatch& batch,
                                  const LossOptions& options, double inverse_valid_tokens,
                                  Gradients* gradients) {
    assert(gradients->config() == layout_->config());
    const auto begun = std::chrono::steady_clock::now();
    const BatchTables& tables = Upload(batch, /*backward=*/true);
    WeightView weights = View(parameters);
    weights.gradients = gradients->storage().data();
    const PassFactors factors = FactorsOf(config_, options, inverse_valid_tokens);
    pass_.Forward(weights, tables);
    const double forward_seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    PassSums sums = {};
    pass_.Backward(weights, tables, options, &factors, &sums);
    BatchResult result;
    result.valid_tokens = sums.head.valid_tokens;
    result.teacher_tokens = sums.head.teacher_tokens;
    result.ce_sum = sums.head.ce_sum;
    result.kl_sum = sums.head.kl_sum;
    result.mixed_sum = sums.head.mixed_sum;
    result.prediction_tokens = sums.predictions.valid_tokens;
    result.prediction_ce_sum = sums.predictions.ce_sum;
    result.balance = sums.balance.loss;
    result.loss = (result.mixed_sum + sums.balance.token_loss) * inverse_valid_tokens +
                  result.prediction_ce_sum * factors.prediction;
    result.expert_counts = Loads();
    result.forward_seconds = forward_seconds;
    return result;
  }

  std::vector<TokenEvaluation> Evaluate(const ParameterSet& parameters, const PackedBatch& batch,
                                        std::vector<std::int64_t>* expert_counts) {
    const BatchTables& tables = Upload(batch, /*backward=*/false);
    const WeightView weights = View(parameters);
    pass_.Forward(weights, tables);
    if (expert_counts != nullptr) *expert_counts = Loads();
    const double no_gradient = 0;
    PassSums sums = {};
    const TokenLosses losses = pass_.Measure(weights, tables, 0.0f, &no_gradient, &sums);
    std::vector<TokenEvaluation> result(batch.size());
    for (std::size_t i = 0; i < tables.host_loss_rows.size(); ++i) {
      const std::int32_t t = tables.host_loss_rows[i];
      const TeacherRow teacher = TeacherAt(batch, t);
      TokenEvaluation& token = result[t];
      token.cross_entropy = static_cast<float>(losses.cross_entropy[i]);
      token.divergence = static_cast<float>(losses.divergence[i]);
      token.argmax = losses.argmax[i];
      token.has_teacher = teacher.count > 0;
      if (teacher.count > 0) {
        const float* best = std::max_element(teacher.logprobs, teacher.logprobs + teacher.count);
        token.agrees_with_teacher = token.argmax == teacher.ids[best - teacher.logprobs];
      }
    }
    return result;
  }

  std::vector<float> ForwardLogits(const ParameterSet& parameters, std::span<const std::int32_t> tokens,
                                   std::span<const std::int32_t> rows) {
    PackedBatch batch;
    batch.tokens.assign(tokens.begin(), tokens.end());
    batch.positions.resize(tokens.size());
    std::iota(batch.positions.begin(), batch.positions.end(), 0);
    batch.document_starts = {0, static_cast<std::int32_t>(tokens.size())};
    batch.targets.assign(tokens.size(), 0);
    batch.weights.assign(tokens.size(), 0.0f);
    pass_.Forward(View(parameters), Upload(batch, /*backward=*/false));
    for ([[maybe_unused]] const std::int32_t row : rows) assert(row >= 0 && row < batch.size());
    return Logits(parameters, rows);
  }

  std::vector<float> Extend(const ParameterSet& parameters, std::span<const std::int32_t> tokens,
                            LatentCache* cache) {
    assert(parameters.config() == layout_->config());
    const std::int32_t count = static_cast<std::int32_t>(tokens.size());
    assert(count > 0 && cache->size() + count <= cache->capacity());
    for ([[maybe_unused]] const std::int32_t token : tokens) assert(token >= 0 && token < config_.vocabulary);
    Reserve({.positions = count, .rows = 0, .documents = 1}, cache->capacity(), /*backward=*/false);
    std::vector<std::int32_t> positions(count);
    std::iota(positions.begin(), positions.end(), cache->size());
    const AttentionSpan span = {0, count, 0, cache->size() + count};
    BatchTables batch;
    batch.host_documents = std::span(&span, 1);
    batch.positions = count;
    batch.tokens = tokens.data();
    batch.token_positions = positions.data();
    pass_.Extend(View(parameters), batch, cache);
    cache->SetSize(cache->size() + count);
    const std::int32_t last = count - 1;
    return Logits(parameters, std::span(&last, 1));
  }

 private:
  WeightView View(const ParameterSet& parameters) const {
    assert(parameters.config() == layout_->config());
    return {.layout = layout_.get(), .values = parameters.storage().data()};
  }

  // The host always has the memory, or has none for anything.
  void Reserve(PassLimits limits, std::int64_t key_rows, bool backward) {
    limits.slots = limits.positions * config_.experts_per_token;
    if (!pass_.Reserve({.limits = limits, .key_rows = key_rows, .backward = backward}))
      throw std::bad_alloc();
  }

  const BatchTables& Upload(const PackedBatch& batch, bool backward) {
    assert(ValidateBatch(config_, batch).empty());
    Reserve({.positions = batch.size(),
             .rows = batch.size(),
             .documents = static_cast<int>(batch.document_starts.size()) - 1,
             .teacher_k = batch.teacher_k},
            0, backward);
    return pass_.Upload(batch);
  }

  // Logits of rows of the final norm; the vocabulary in pieces, to bound the packed copy of the head.
  std::vector<float> Logits(const ParameterSet& parameters, std::span<const std::int32_t> rows) {
    constexpr int kPiece = 4096;
    const int hidden = config_.hidden, vocabulary = config_.vocabulary;
    const float* const head = parameters.tensor(head_).data();
    std::vector<float> logits(rows.size() * vocabulary);
    for (int first = 0; first < vocabulary; first += kPiece) {
      MatMul(compute_,
             LinearForward({pass_.normalised().f32(), hidden, rows.data()},
                           {head + std::int64_t{first} * hidden, hidden}, logits.data() + first, vocabulary,
                           static_cast<int>(rows.size()), hidden, std::min(kPiece, vocabulary - first)));
    }
    return logits;
  }

  std::vector<std::int64_t> Loads() const {
    std::vector<std::int64_t> loads(static_cast<std::size_t>(config_.moe_layers()) * config_.experts);
    pass_.AddLoads(loads);
    return loads;
  }

  const std::shared_ptr<const ParameterLayout> layout_;
  const ModelConfig& config_;
  Scratch scratch_;
  const Compute compute_;
  const std::unique_ptr<Backend> backend_;
  Pass pass_;
  const int embedding_, head_;  // tensor indices
};

Model::Model(const ModelConfig& config, ThreadPool& pool, Isa isa)
    : impl_(std::make_unique<Impl>(config, pool, isa)) {}
Model::~Model() = default;

const ModelConfig& Model::config() const {
  return impl_->config();
}
const std::shared_ptr<const ParameterLayout>& Model::layout() const {
  return impl_->layout();
}

BatchResult Model::AccumulateGradients(const ParameterSet& parameters, const PackedBatch& batch,
                                       const LossOptions& options, double inverse_valid_tokens,
                                       Gradients* gradients) {
  return impl_->AccumulateGradients(parameters, batch, options, inverse_valid_tokens, gradients);
}

std::vector<TokenEvaluation> Model::Evaluate(const ParameterSet& parameters, const PackedBatch& batch,
                                             std::vector<std::int64_t>* expert_counts) {
  return impl_->Evaluate(parameters, batch, expert_counts);
}

std::vector<float> Model::ForwardLogits(const ParameterSet& parameters, std::span<const std::int32_t> tokens,
                                        std::span<const std::int32_t> rows) {
  return impl_->ForwardLogits(parameters, tokens, rows);
}

std::vector<float> Model::Extend(const ParameterSet& parameters, std::span<const std::int32_t> tokens,
                                 LatentCache* cache) {
  return impl_->Extend(parameters, tokens, cache);
}

}  // namespace retort::student
