// One step of a Llama model: a batch of tokens, each of some sequence at some position, through all layers.
//
// Rows are independent of one another except through the caches that they name; rows of one sequence must
// come in ascending position and see the rows before them. A row's result has the same bits whatever else is
// in the step.
#ifndef STUDENT_INFERENCE_LLAMA_FORWARD_H_
#define STUDENT_INFERENCE_LLAMA_FORWARD_H_

#include <cstdint>
#include <span>
#include <vector>

#include "student/inference/cpu_kernels.h"
#include "student/inference/llama_model.h"
#include "student/inference/step_crew.h"

namespace retort::student {

// Keys and values of one sequence in all layers, for `context` positions. 16-bit with a scale per position
// and head: half the memory traffic of fp32 and an error of at most max / 65534 per element.
class LlamaCache {
 public:
  LlamaCache(const LlamaConfig& config, int32_t context);

  int32_t context() const { return context_; }
  KvHeadView Head(int32_t layer, int32_t kv_head);

 private:
  int32_t context_;  // a multiple of kKeyBlock
  int32_t kv_heads_;
  int32_t head_dim_;
  std::vector<int16_t> keys_, values_;            // [layers, kv_heads, context * head_dim]
  std::vector<float> key_scales_, value_scales_;  // [layers, kv_heads, context]
};

struct LlamaRow {
  LlamaCache* cache = nullptr;  // of the row's sequence; position must be below its context
  int32_t token = 0;
  int32_t position = 0;
  bool wants_logits = false;  // the head is a fifth of the arithmetic: only for rows that need it
};

class LlamaForward {
 public:
  // Buffers for `rows_max` rows of at most `context` positions. `model` and `crew` must outlive this.
  LlamaForward(const LlamaModel& model, int32_t rows_max, int32_t context, StepCrew& crew,
               const CpuKernels& kernels);

  // Runs the rows (at most rows_max, asserted). One caller at a time.
  void Run(std::span<const LlamaRow> rows);
  // Logits [vocabulary] of row m of the last Run, which must have wanted them (asserted); valid until the
  // next.
  std::span<const float> LogitsOf(size_t m) const;

 private:
  void Attention(std::span<const LlamaRow> rows, int32_t layer);
  void FeedForward(std::span<const LlamaRow> rows, int32_t layer);
  void Logits(std::span<const LlamaRow> rows);
  // y[m] = x[m] * matrix for m < rows, tiles shared out to the crew.
  void Multiply(const PackedMatrix& matrix, const Activations& x, int32_t rows, std::vector<float>& y);
  // body(row, worker) for every row. The rows of a group interleave in Activations: one thread takes them all
  // when there are enough groups, or threads would fight over the cache lines.
  template <typename Body>
  void EachRow(int32_t count, const Body& body);
  // Adds row m of delta_ to x_ when `add`, and makes row m of normed_ of the result when there is a weight.
  void AddAndNorm(int32_t m, bool add, const std::vector<float>* weight, int32_t worker);

  const LlamaModel& model_;
  const LlamaConfig& config_;
  const CpuKernels& kernels_;
  StepCrew& crew_;
  int32_t context_;
  std::vector<float> cos_, sin_;  // [context, head_dim / 2]
  std::vector<float> x_;          // [rows, width] residual stream
  std::vector<float> delta_;      // [rows, padded width] what a block adds to it
  std::vector<float> qkv_;        // [rows, padded (heads + 2 kv_heads) head_dim]
  std::vector<float> gate_up_;    // [rows, padded 2 ffn_width]
  std::vector<float> logits_;     // [wanted_, padded vocabulary]
  std::vector<int32_t> wanted_;   // rows of the last Run that wanted logits, ascending
  std::vector<float> attention_;  // [rows, width] what the heads say
  Activations normed_;            // [rows, width]
  Activations attended_;          // [rows, width]
  Activations hidden_;            // [rows, ffn_width]
  size_t scratch_floats_;
  std::vector<float> scratch_;  // [threads, scratch_floats_]
};

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_LLAMA_FORWARD_H_
