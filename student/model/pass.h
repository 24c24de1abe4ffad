// One forward and backward pass over a packed batch on a backend: embedding, layers, head and loss, composed
// once for every device. Owns the buffers of a pass, planned once and grown when a larger batch comes, but no
// weights.
//
//   Pass pass(layout, backend);
//   if (!pass.Reserve(sizes)) …                  // backend.failure() says what is missing
//   const BatchTables& batch = pass.Upload(packed);
//   pass.Forward(weights, batch);
//   pass.Backward(weights, batch, options, factor, sums);
//
// Calls are queued on the backend (backend.h); sums are read after Backend::Finish. One call at a time.
#ifndef STUDENT_MODEL_PASS_H_
#define STUDENT_MODEL_PASS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "student/loss/loss_options.h"
#include "student/model/attention_block.h"
#include "student/model/feed_forward_block.h"

namespace retort::student {

// What a pass adds up, in the backend's memory.
struct PassSums {
  HeadSums head;
  BalanceSums balance;
};

class Pass {
 public:
  // Called while a backward pass is queued, when everything that adds to the gradients of a layer is: first
  // with config.layers (final norm, and the head when it is not tied), then layer by layer downwards, last -1
  // (the embedding).
  using LayerDone = std::function<void(int layer)>;

  // backend must outlive it.
  Pass(std::shared_ptr<const ParameterLayout> layout, Backend& backend);
  ~Pass();
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  // Bytes that Reserve takes for its buffers, the operators' own working memory (Backend::WorkspaceBytes) not
  // among them. A pure function.
  static std::int64_t BytesNeeded(std::shared_ptr<const ParameterLayout> layout, const PassSizes& sizes);
  // Makes room for passes up to `sizes`, keeping what was reserved before. sizes.activation is the backend's.
  // False when it does not fit. What a Forward left for its Backward is lost.
  bool Reserve(const PassSizes& sizes);

  // Copies the batch to the backend. It must live until the pass is queued. Within what is reserved
  // (asserted).
  const BatchTables& Upload(const PackedBatch& batch);

  // Null (the start): every routed expert is computed here, alone. Otherwise passes travel to the ranks that
  // own them, and every rank of the group makes the same passes; sizes.expert_ranks says so when memory is
  // reserved. `exchange` must outlive the passes.
  void UseExchange(ExpertExchange* exchange) { exchange_ = exchange; }

  void Forward(const WeightView& weights, const BatchTables& batch);
  // After Forward of the same batch. Adds to the gradients and to *sums. *factor: 1 / valid tokens of the
  // step.
  void Backward(const WeightView& weights, const BatchTables& batch, const LossOptions& options,
                const double* factor, PassSums* sums, const LayerDone& done = {});
  // Losses and argmax of every row with loss, after Forward.
  TokenLosses Measure(const WeightView& weights, const BatchTables& batch, float ce_weight,
                      const double* factor, PassSums* sums);
  // The forward pass after a cache; batch as AttentionBlock::Extend wants it. On the host.
  void Extend(const WeightView& weights, const BatchTables& batch, LatentCache* cache);

  // After Forward or Extend: the final norm's output, [T, hidden].
  Values normalised() const { return norm_; }
  // Tokens that the last Forward sent to each expert, [moe_layers, experts], added.
  void AddLoads(std::span<std::int64_t> loads) const;

 private:
  Pass(std::shared_ptr<const ParameterLayout> layout, Backend* backend);
  void Plan(const PassSizes& sizes, Arena* arena);
  std::int64_t RopeFloats() const { return std::int64_t{config_.context} * config_.rope_head_dim / 2; }
  void FinalNorm(const WeightView& weights, std::int64_t rows);
  PassContext Context(const WeightView& weights, const BatchTables& batch) const {
    return {*backend_, weights, rope_, batch, exchange_};
  }

  const std::shared_ptr<const ParameterLayout> layout_;
  const ModelConfig& config_;
  Backend* const backend_;                   // null: only for planning
  const int embedding_, final_norm_, head_;  // tensor indices
  const RopeTable host_rope_;
  RopeTables rope_;
  void* memory_ = nullptr;
  PassSizes reserved_;
  ExpertExchange* exchange_ = nullptr;
  std::vector<std::unique_ptr<AttentionBlock>> attention_;
  std::vector<std::unique_ptr<FeedForwardBlock>> feed_forward_;

  std::vector<float*>
      residuals_;  // the stream before each block, and after the last: [2 * layers + 1][T, hidden]
  Values norm_;
  float *norm_r_ = nullptr, *d_norm_ = nullptr, *dx_ = nullptr;
  AttentionMemory attention_memory_ = {};
  FeedForwardMemory feed_forward_memory_ = {};
  TokenLosses losses_;
  struct BatchMemory {
    std::int32_t *tokens, *positions, *document_starts, *targets, *teacher_counts, *teacher_ids, *loss_rows;
    float *weights, *teacher_logprobs, *teacher_tail_logprobs;
  } batch_memory_ = {};

  float *rope_cosines_ = nullptr, *rope_sines_ = nullptr;

  BatchTables batch_;
  std::vector<AttentionSpan> documents_;
  std::vector<std::int32_t> loss_rows_;
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_PASS_H_
