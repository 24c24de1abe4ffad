// Several documents laid end to end, with what each position should learn. Attention, positions and the
// balance loss never cross a document boundary.
#ifndef STUDENT_MODEL_PACKED_BATCH_H_
#define STUDENT_MODEL_PACKED_BATCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "student/model/config.h"

namespace retort::student {

struct PackedBatch {
  std::vector<std::int32_t> tokens;           // [T]
  std::vector<std::int32_t> positions;        // [T], 0 at the first token of each document, then +1
  std::vector<std::int32_t> document_starts;  // [D+1]: 0 first, T last, strictly increasing ("cu_seqlens")

  // What position t should predict, normally tokens[t+1]. Read only where weights[t] != 0.
  std::vector<std::int32_t> targets;  // [T]
  std::vector<float> weights;  // [T], >= 0; 0 = no loss here (prompt, last token of a document, padding)

  // Optional stored teacher distribution of position t over the token after it: teacher_counts[t] entries in
  // row t of ids and logprobs, at temperature 1 under the full-vocabulary softmax, ids distinct, and the log
  // of the probability of all other tokens together. A count of 0 means none: that position learns from its
  // target with cross-entropy.
  int teacher_k = 0;                         // row length; 0 = all four below are empty
  std::vector<std::int32_t> teacher_counts;  // [T], 0..teacher_k
  std::vector<std::int32_t> teacher_ids;     // [T, teacher_k]
  std::vector<float> teacher_logprobs;       // [T, teacher_k], <= 0
  std::vector<float> teacher_tail_logprobs;  // [T], <= 0, or -infinity if the stored entries are everything

  std::int64_t size() const { return static_cast<std::int64_t>(tokens.size()); }
};

// The empty string if the batch fits the configuration, otherwise one sentence with the field and index, the
// value seen and the value wanted. AccumulateGradients and Evaluate have this as their precondition; whoever
// forms batches from outside data calls it.
std::string ValidateBatch(const ModelConfig& config, const PackedBatch& batch);

// What module `depth` of multi-token prediction reads and learns (prediction_module.h): position t of a
// document has the token of t + depth, its target and its weight. The last `depth` positions of a document,
// and so all of a shorter one, have nothing to learn: weight 0, and the document's last token again, which no
// other position attends to. No teacher: these losses are cross-entropy alone. Precondition: `batch` is
// valid; so is the result.
PackedBatch ShiftedBatch(const PackedBatch& batch, int depth);

// Sum of weights: what the whole optimiser step adds up over its micro-batches before the first backward
// pass.
double ValidTokens(const PackedBatch& batch);

}  // namespace retort::student

#endif  // STUDENT_MODEL_PACKED_BATCH_H_
