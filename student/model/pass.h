// One forward and backward pass over a packed batch on a backend: embedding, layers, head and loss, composed
// once for every device. Owns the buffers of a pass, planned once and grown when a larger batch comes, but no
// weights.
//
//   Pass pass(layout, backend);
//   if (!pass.Reserve(sizes)) …                  // backend.failure() says what is missing
//   const BatchTables& batch = pass.Upload(packed);
//   pass.Forward(weights, batch);
//   pass.Backward(weights, batch, options, factors, sums);
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
#include "student/model/prediction_module.h"

namespace retort::student {

// What a pass adds up, in the backend's memory.
struct PassSums {
  HeadSums head;
  HeadSums predictions;  // of the modules of multi-token prediction together
  BalanceSums balance;
};

// What a pass multiplies the gradients of its losses by, in the backend's memory.
struct PassFactors {
  double token = 0;       // 1 / valid tokens of the step
  double prediction = 0;  // the same times lambda / D, of each module of multi-token prediction
};
// The valid tokens are those of the whole step, which every loss is divided by.
PassFactors FactorsOf(const ModelConfig& config, const LossOptions& options, double inverse_valid_tokens);

class Pass {
 public:
  // Called while a backward pass is queued, when everything that adds to the gradients of a layer is: modules
  // of multi-token prediction first, the last one as config.layers + D, down to config.layers + 1; then
  // config.layers (final norm, and the head when it is not tied), then layer by layer downwards, last -1 (the
  // embedding).
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

  // With weights.gradients the modules of multi-token prediction too, which Backward then reads; without,
  // the stack alone.
  void Forward(const WeightView& weights, const BatchTables& batch);
  // After Forward of the same batch and weights. Adds to the gradients and to *sums.
  void Backward(const WeightView& weights, const BatchTables& batch, const LossOptions& options,
                const PassFactors* factors, PassSums* sums, const LayerDone& done = {});
  // Losses and argmax of every row with loss, after Forward.
  TokenLosses Measure(const WeightView& weights, const BatchTables& batch, float ce_weight,
                      const double* factor, PassSums* sums);
  // The forward pass after a cache; batch as AttentionBlock::Extend wants it. On the host.
  void Extend(const WeightView& weights, const BatchTables& batch, LatentCache* cache);

  // After Forward or Extend: the final norm's output, [T, hidden].
  Values normalised() const { return norm_; }
  // Tokens that the last Forward sent to each expert, [moe_layers, experts], added; nothing for modules of
  // multi-token prediction when it left them out.
  void AddLoads(std::span<std::int64_t> loads) const;

 private:
  // What is read and learnt at each position, on the backend: of the batch, and shifted for each module of
  // multi-token prediction. Documents, positions and teachers are not among it.
  struct Lesson {
    std::int32_t *tokens = nullptr, *targets = nullptr, *rows = nullptr;
    float* weights = nullptr;
    std::vector<std::int32_t> host_rows;
    BatchTables tables;

    void Plan(const PassLimits& limits, Arena* arena);
  };
  struct ShiftedLesson : Lesson {
    PackedBatch host;
  };
  // A stream's end: its norm, which the head reads.
  struct HeadInput {
    const float* x;  // [T, hidden]
    int norm;        // tensor index
    Values normed;   // [T, hidden]
    const float* r;  // [T]
  };

  Pass(std::shared_ptr<const ParameterLayout> layout, Backend* backend);
  void Plan(const PassSizes& sizes, Arena* arena);
  // The values on the backend: where they are on the host, else in `memory`.
  template <typename T>
  const T* Place(const std::vector<T>& values, T* memory);
  void PlaceLesson(const PackedBatch& batch, Lesson* lesson);
  // Loss and gradients of the head, and back through the norm before it: adds to dx_.
  void HeadBackward(const WeightView& weights, const BatchTables& batch, const HeadInput& input,
                    float ce_weight, const double* factor, HeadSums* sums);
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
  std::vector<std::unique_ptr<PredictionModule>> predictions_;
  bool predicted_ = false;  // by the last Forward

  std::vector<float*>
      residuals_;  // the stream before each block, and after the last: [2 * layers + 1][T, hidden]
  Values norm_;
  float *norm_r_ = nullptr, *d_norm_ = nullptr, *dx_ = nullptr;
  AttentionMemory attention_memory_ = {};
  FeedForwardMemory feed_forward_memory_ = {};
  PredictionMemory prediction_memory_ = {};
  TokenLosses losses_;
  struct BatchMemory {
    std::int32_t *positions, *document_starts, *teacher_counts, *teacher_ids;
    float *teacher_logprobs, *teacher_tail_logprobs;
  } batch_memory_ = {};
  float *rope_cosines_ = nullptr, *rope_sines_ = nullptr;

  std::vector<AttentionSpan> documents_;
  Lesson lesson_;
  std::vector<ShiftedLesson> shifted_;  // of the modules of multi-token prediction
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_PASS_H_
