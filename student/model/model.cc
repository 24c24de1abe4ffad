#include "student/model/model.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <numeric>

#include "student/loss/head.h"
#include "student/model/attention_block.h"
#include "student/model/feed_forward_block.h"
#include "student/ops/embedding.h"
#include "student/ops/matmul.h"
#include "student/ops/rms_norm.h"

namespace retort::student {

class Model::Impl {
 public:
  Impl(const ModelConfig& config, ThreadPool& pool, Isa isa)
      : layout_(ParameterLayout::Create(config)),
        config_(layout_->config()),
        rope_(config.rope_theta, config.rope_head_dim, config.context),
        scratch_(pool.size()),
        compute_{&pool, &scratch_, isa},
        embedding_(Require(*layout_, "model.embed_tokens.weight")),
        final_norm_(Require(*layout_, "model.norm.weight")),
        head_(config.tied_embeddings ? embedding_ : Require(*layout_, "lm_head.weight")),
        residuals_(2 * config.layers + 1) {
    assert(IsaSupported(isa));
    for (int i = 0; i < config.layers; ++i) {
      attention_.push_back(std::make_unique<AttentionBlock>(*layout_, i));
      feed_forward_.push_back(std::make_unique<FeedForwardBlock>(*layout_, i));
    }
  }

  const std::shared_ptr<const ParameterLayout>& layout() const { return layout_; }
  const ModelConfig& config() const { return config_; }

  BatchResult AccumulateGradients(const ParameterSet& parameters, const PackedBatch& batch,
                                  const LossOptions& options, double inverse_valid_tokens,
                                  Gradients* gradients) {
    assert(gradients->config() == layout_->config());
    const auto begun = std::chrono::steady_clock::now();
    Forward(parameters, batch);
    const double forward_seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    const std::int64_t size = batch.size() * config_.hidden;
    const std::vector<std::int32_t> rows = ValidRows(batch);
    float* const d_norm = d_norm_.Reserve(size);
    std::fill_n(d_norm, size, 0.0f);
    const std::vector<HeadResult> losses =
        HeadLoss(compute_, &head_memory_,
                 {norm_.data(), Weight(parameters, head_), config_.vocabulary, config_.hidden, d_norm,
                  Weight(gradients, head_)},
                 batch, rows, options.ce_weight, inverse_valid_tokens, false);
    BatchResult result = Sum(batch, rows, losses, options.ce_weight);

    float* const dx = dx_.Reserve(size);
    std::fill_n(dx, size, 0.0f);
    RmsNormBackward(compute_, residuals_.back().data(), config_.hidden, Weight(parameters, final_norm_),
                    norm_r_.data(), d_norm, config_.hidden, batch.size(), config_.hidden, dx, config_.hidden,
                    Weight(gradients, final_norm_));
    BalanceTerm balance = {.alpha = options.balance_weight, .factor = inverse_valid_tokens};
    const Rows all = {batch.size(), batch.positions.data(), documents_};
    for (int i = config_.layers - 1; i >= 0; --i) {
      feed_forward_[i]->Backward(compute_, parameters, all, residuals_[2 * i + 1].data(),
                                 &feed_forward_memory_, &balance, dx, gradients);
      attention_[i]->Backward(compute_, parameters, rope_, all, residuals_[2 * i].data(), &attention_memory_,
                              dx, gradients);
    }
    EmbedBackward(compute_, batch.tokens, dx, config_.hidden, Weight(gradients, embedding_));
    result.balance = balance.sum;
    result.loss = (result.mixed_sum + balance.token_sum) * inverse_valid_tokens;
    result.expert_counts = Loads();
    result.forward_seconds = forward_seconds;
    return result;
  }

  std::vector<TokenEvaluation> Evaluate(const ParameterSet& parameters, const PackedBatch& batch,
                                        std::vector<std::int64_t>* expert_counts) {
    Forward(parameters, batch);
    if (expert_counts != nullptr) *expert_counts = Loads();
    const std::vector<std::int32_t> rows = ValidRows(batch);
    const std::vector<HeadResult> losses = HeadLoss(
        compute_, &head_memory_,
        {norm_.data(), Weight(parameters, head_), config_.vocabulary, config_.hidden, nullptr, nullptr},
        batch, rows, 0.0f, 0.0, true);
    std::vector<TokenEvaluation> result(batch.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const TeacherRow teacher = TeacherAt(batch, rows[i]);
      TokenEvaluation& token = result[rows[i]];
      token.cross_entropy = static_cast<float>(losses[i].loss.cross_entropy);
      token.divergence = static_cast<float>(losses[i].loss.divergence);
      token.argmax = losses[i].argmax;
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
    Forward(parameters, batch);
    for ([[maybe_unused]] const std::int32_t row : rows) assert(row >= 0 && row < batch.size());
    return Logits(parameters, rows);
  }

  std::vector<float> Extend(const ParameterSet& parameters, std::span<const std::int32_t> tokens,
                            LatentCache* cache) {
    assert(parameters.config() == layout_->config());
    const std::int32_t count = static_cast<std::int32_t>(tokens.size());
    assert(count > 0 && cache->size() + count <= cache->capacity());
    for ([[maybe_unused]] const std::int32_t token : tokens) assert(token >= 0 && token < config_.vocabulary);
    std::vector<std::int32_t> positions(count);
    std::iota(positions.begin(), positions.end(), cache->size());
    const Rows rows = {count, positions.data(), {}};
    const std::int64_t size = std::int64_t{count} * config_.hidden;
    float* const x = residuals_[0].Reserve(size);
    float* const y = residuals_[1].Reserve(size);
    Embed(compute_, Weight(parameters, embedding_), tokens, config_.hidden, x);
    for (int i = 0; i < config_.layers; ++i) {
      attention_[i]->Extend(compute_, parameters, rope_, rows, x, cache, y);
      feed_forward_[i]->Forward(compute_, parameters, rows, y, x);
    }
    cache->SetSize(cache->size() + count);
    FinalNorm(parameters, x, count);
    const std::int32_t last = count - 1;
    return Logits(parameters, std::span(&last, 1));
  }

 private:
  // Fills residuals_ and norm_ for the batch.
  void Forward(const ParameterSet& parameters, const PackedBatch& batch) {
    assert(parameters.config() == layout_->config());
    assert(ValidateBatch(config_, batch).empty());
    documents_.clear();
    for (std::size_t d = 0; d + 1 < batch.document_starts.size(); ++d) {
      const std::int64_t first = batch.document_starts[d], count = batch.document_starts[d + 1] - first;
      documents_.push_back({first, count, first, count});
    }
    const Rows rows = {batch.size(), batch.positions.data(), documents_};
    for (Buffer& residual : residuals_) residual.Reserve(batch.size() * config_.hidden);
    Embed(compute_, Weight(parameters, embedding_), batch.tokens, config_.hidden, residuals_[0].data());
    for (int i = 0; i < config_.layers; ++i) {
      attention_[i]->Forward(compute_, parameters, rope_, rows, residuals_[2 * i].data(),
                             residuals_[2 * i + 1].data());
      feed_forward_[i]->Forward(compute_, parameters, rows, residuals_[2 * i + 1].data(),
                                residuals_[2 * i + 2].data());
    }
    FinalNorm(parameters, residuals_.back().data(), batch.size());
  }

  void FinalNorm(const ParameterSet& parameters, const float* x, std::int64_t rows) {
    RmsNorm(compute_, x, config_.hidden, Weight(parameters, final_norm_), rows, config_.hidden,
            static_cast<float>(config_.rms_norm_epsilon), norm_.Reserve(rows * config_.hidden),
            config_.hidden, norm_r_.Reserve(rows));
  }

  // Logits of rows of norm_; the vocabulary in pieces, to bound the packed copy of the head.
  std::vector<float> Logits(const ParameterSet& parameters, std::span<const std::int32_t> rows) {
    constexpr int kPiece = 4096;
    const int hidden = config_.hidden, vocabulary = config_.vocabulary;
    std::vector<float> logits(rows.size() * vocabulary);
    for (int first = 0; first < vocabulary; first += kPiece) {
      MatMul(compute_, LinearForward({norm_.data(), hidden, rows.data()},
                                     {Weight(parameters, head_) + std::int64_t{first} * hidden, hidden},
                                     logits.data() + first, vocabulary, static_cast<int>(rows.size()), hidden,
                                     std::min(kPiece, vocabulary - first)));
    }
    return logits;
  }

  static std::vector<std::int32_t> ValidRows(const PackedBatch& batch) {
    std::vector<std::int32_t> rows;
    for (std::int32_t t = 0; t < batch.size(); ++t) {
      if (batch.weights[t] != 0) rows.push_back(t);
    }
    return rows;
  }

  static BatchResult Sum(const PackedBatch& batch, std::span<const std::int32_t> rows,
                         std::span<const HeadResult> losses, double ce_weight) {
    BatchResult result;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double weight = batch.weights[rows[i]];
      const bool has_teacher = TeacherAt(batch, rows[i]).count > 0;
      result.valid_tokens += weight;
      if (has_teacher) result.teacher_tokens += weight;
      result.ce_sum += weight * losses[i].loss.cross_entropy;
      result.kl_sum += weight * losses[i].loss.divergence;
      result.mixed_sum += weight * losses[i].loss.Mixed(ce_weight, has_teacher);
    }
    return result;
  }

  std::vector<std::int64_t> Loads() const {
    std::vector<std::int64_t> loads(static_cast<std::size_t>(config_.moe_layers()) * config_.experts);
    std::int64_t* next = loads.data();
    for (const auto& block : feed_forward_) {
      if (!block->routed()) continue;
      block->AddLoads(next);
      next += config_.experts;
    }
    return loads;
  }

  const std::shared_ptr<const ParameterLayout> layout_;
  const ModelConfig& config_;
  const RopeTable rope_;
  Scratch scratch_;
  const Compute compute_;
  const int embedding_, final_norm_, head_;  // tensor indices
  std::vector<std::unique_ptr<AttentionBlock>> attention_;
  std::vector<std::unique_ptr<FeedForwardBlock>> feed_forward_;
  std::vector<AttentionSpan> documents_;
  std::vector<Buffer>
      residuals_;  // the stream before each block, and after the last: [2 * layers + 1][T, hidden]
  Buffer norm_, norm_r_, d_norm_, dx_;
  AttentionMemory attention_memory_;
  FeedForwardMemory feed_forward_memory_;
  HeadMemory head_memory_;
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
