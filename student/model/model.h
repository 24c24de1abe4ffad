// The student's forward and backward pass over packed documents: a DeepSeek-V3-style transformer (multi-head
// latent attention, sigmoid-gated fine-grained experts beside shared ones), written out by hand, without
// automatic differentiation.
//
//   ThreadPool pool(ThreadPool::DefaultThreads());
//   Model model(NanoConfig(), pool);
//   ParameterSet weights(model.layout());
//   InitializeParameters(seed, &weights);
//   Gradients gradients(model.layout());
//   for (const PackedBatch& micro : step)
//     results.push_back(model.AccumulateGradients(weights, micro, options, 1.0 / valid_tokens_of_step,
//     &gradients));
//   optimizer.Step(&weights, gradients, learning_rate);
//
// A Model owns working memory that grows to the largest batch seen, but no weights. One call at a time per
// Model; the ThreadPool inside it works in parallel. Results are the same bits for any number of threads, on
// one instruction set. In the fast paths a token's numbers do not depend on its neighbours in the batch
// either, so decoding with a cache gives the logits of the full pass, bit for bit.
#ifndef STUDENT_MODEL_MODEL_H_
#define STUDENT_MODEL_MODEL_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "student/loss/loss_options.h"
#include "student/model/config.h"
#include "student/model/latent_cache.h"
#include "student/model/packed_batch.h"
#include "student/model/parameters.h"
#include "student/tensor/isa.h"
#include "student/threads/thread_pool.h"

namespace retort::student {

// Sums over the batch, each weighted by weights[t]; divide by the weight of what was summed. 64-bit, in token
// order.
struct BatchResult {
  double valid_tokens = 0;    // sum of weights
  double teacher_tokens = 0;  // the part of it that has a teacher distribution
  double ce_sum = 0;          // cross-entropy in nats, over valid_tokens
  double kl_sum = 0;          // divergence from the teacher, over teacher_tokens
  double mixed_sum = 0;       // a*CE + (1-a)*KL, or CE where there is no teacher, over valid_tokens
  // Of all modules of multi-token prediction: their targets, and their cross-entropy over them.
  double prediction_tokens = 0, prediction_ce_sum = 0;
  double balance = 0;  // balance loss, already multiplied by alpha, summed over documents and layers
  // What the gradient is the gradient of, see AccumulateGradients.
  double loss = 0;
  // Wall time up to the final norm, and of modules of multi-token prediction up to theirs. The head computes
  // loss and gradient in one pass; it counts as backward.
  double forward_seconds = 0;
  // Tokens sent to each expert, [moe_layers, experts]: add over all micro-batches of a step, then
  // UpdateExpertBias.
  std::vector<std::int64_t> expert_counts;
};

// What one position made of its target. Only positions with weight != 0 are filled; others are zero.
struct TokenEvaluation {
  float cross_entropy = 0;   // nats
  float divergence = 0;      // KL from the teacher, 0 if none is stored for this position
  std::int32_t argmax = -1;  // the student's most probable token, the lowest id on a tie; -1 if not evaluated
  bool has_teacher = false;
  bool agrees_with_teacher = false;  // argmax is the teacher's most probable stored token
};

class Model {
 public:
  // Precondition: Validate(config) is empty (asserted). pool must outlive the Model. isa chooses the fast
  // paths; tests pass Isa::kPlain for the reference.
  Model(const ModelConfig& config, ThreadPool& pool, Isa isa = BestIsa());
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const ModelConfig& config() const;
  // Every ParameterSet passed in below has a layout of this config (asserted), though not necessarily this
  // object.
  const std::shared_ptr<const ParameterLayout>& layout() const;

  // One micro-batch forward and backward. Adds to *gradients the gradient of
  //   inverse_valid_tokens * (sum over t of weights[t] * L_t + sum over documents of T_d * L_balance,d
  //                           + lambda / D * sum over modules of multi-token prediction of their
  //                           cross-entropy).
  // inverse_valid_tokens is 1 / (valid tokens of the whole optimiser step), so that splitting the step into
  // other micro-batches does not change what is learnt. Balance gradients therefore weigh a document by its
  // length T_d. Precondition: ValidateBatch(config(), batch) is empty (asserted). A batch without valid
  // tokens adds exactly nothing to the head and returns zeros.
  BatchResult AccumulateGradients(const ParameterSet& parameters, const PackedBatch& batch,
                                  const LossOptions& options, double inverse_valid_tokens,
                                  Gradients* gradients);

  // Forward only. Returns one TokenEvaluation per position. Never holds [T, V]. Same precondition.
  // expert_counts may be null; otherwise it is overwritten with the loads, [moe_layers, experts]; zeros for
  // modules of multi-token prediction, which are not run.
  std::vector<TokenEvaluation> Evaluate(const ParameterSet& parameters, const PackedBatch& batch,
                                        std::vector<std::int64_t>* expert_counts = nullptr);

  // Logits of chosen positions of one document, positions counted from 0, in the order asked for: the first
  // element of row i of the result ([rows.size(), V], row-major) is at i * V. tokens non-empty, each in [0,
  // V), each row in [0, tokens.size()) (asserted).
  std::vector<float> ForwardLogits(const ParameterSet& parameters, std::span<const std::int32_t> tokens,
                                   std::span<const std::int32_t> rows);

  // Decoding: reads tokens that follow those already in the cache, appends them to it and returns the logits
  // [V] after the last one. An empty cache makes this the prefill. cache->size() + tokens.size() <=
  // cache->capacity() (asserted). student/inference builds sampling and chat on this.
  std::vector<float> Extend(const ParameterSet& parameters, std::span<const std::int32_t> tokens,
                            LatentCache* cache);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::student

#endif  // STUDENT_MODEL_MODEL_H_
