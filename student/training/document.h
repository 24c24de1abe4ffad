// One approved sample as token ids with their targets: what the packer packs and the losses learn from.
//
// A document is the prompt followed by the completion, as the teacher saw and wrote them. Position i predicts
// token i + 1; it is valid (it carries loss) exactly when token i + 1 belongs to the completion, its
// end-of-turn token included. Where the sample has the teacher's top-k log-probabilities they sit at the same
// positions.
#ifndef STUDENT_TRAINING_DOCUMENT_H_
#define STUDENT_TRAINING_DOCUMENT_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "ledger/approved_sample.h"
#include "student/tokenizer/tokenizer.h"

namespace retort::student {

struct Document {
  uint64_t leaf_index = 0;              // of the ledger entry it came from
  std::array<uint8_t, 32> leaf_hash{};  // of the same
  std::vector<uint32_t> tokens;         // prompt, then completion
  uint32_t completion_begin = 0;        // index in `tokens` of the first completion token; at least 1
  uint32_t k = 0;                       // alternatives per completion token; 0 without a teacher distribution
  std::vector<uint32_t> top_ids;        // [completion tokens, k], most likely first
  std::vector<float> top_logprobs;      // [completion tokens, k]
  std::vector<float> tail_logprobs;     // [completion tokens]
};

struct DocumentOptions {
  std::array<uint8_t, 32> tokenizer_sha256{};  // of the student
  uint32_t vocabulary_size = 0;                // of the student
  bool want_logits = false;                    // refuse samples without log-probabilities
  const Tokenizer* tokenizer = nullptr;        // for samples without ids; null: they are refused
};

// Turns a sample into a document.
// InvalidArgument: ids outside the vocabulary, arrays whose lengths do not fit together, log-probabilities
// that are
//   not a distribution (above 0, not descending, mass above 1 + 1e-3, NaN), an empty prompt or completion.
// FailedPrecondition: another tokenizer than the student's (both digests are named); want_logits and the
// sample has none;
//   no ids and no tokenizer.
// Messages name the sample by its leaf index, never by its text.
absl::StatusOr<Document> MakeDocument(const ledger::ApprovedSample& sample, const DocumentOptions& options);

}  // namespace retort::student

#endif  // STUDENT_TRAINING_DOCUMENT_H_
