// The only form in which training code ever sees a teacher's text.
//
// An ApprovedSample exists when, and only when, a DatasetReader (ledger/dataset_reader.h) has checked one
// sample of a frozen dataset: inclusion under a signed checkpoint, the capture and the decision signature, a
// decision that allows training, and the salted digest of the payload. Its constructor is private and
// DatasetReader its one friend, so a path from unapproved text to a gradient does not compile. Tests of
// training code define ApprovedSampleTestAccess.
//
// Header-only and free of dependencies, so that `cmake -S student` needs nothing else of the ledger.
// Values are immutable; copies and moves are free to cross threads.
#ifndef LEDGER_APPROVED_SAMPLE_H_
#define LEDGER_APPROVED_SAMPLE_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace retort::ledger {

struct ApprovedTurn {
  std::string role;     // system, user or assistant
  std::string content;  // UTF-8
};

// Contents of an approved sample. All arrays over positions have one row per completion token.
struct ApprovedContent {
  std::string prompt_id;
  bool held_out = false;  // asked for evaluation; never trained on
  std::vector<ApprovedTurn> messages;
  std::string completion;
  std::array<uint8_t, 32>
      tokenizer_sha256{};  // zero when the teacher's tokenizer is unknown; then the ids are empty
  uint32_t vocabulary_size = 0;
  std::vector<uint32_t> prompt_ids;      // chat template included
  std::vector<uint32_t> completion_ids;  // may end with the end-of-turn token
  uint32_t k = 0;                        // alternatives per position; 0 without log-probabilities
  std::vector<uint32_t> top_ids;         // [positions, k], most likely first
  std::vector<float> top_logprobs;       // [positions, k], natural log, temperature 1, full vocabulary
  std::vector<float> tail_logprobs;      // [positions], log of the mass outside the k; -infinity for none
};

class ApprovedSample {
 public:
  const ApprovedContent& content() const { return content_; }
  uint64_t leaf_index() const { return leaf_index_; }
  const std::array<uint8_t, 32>& leaf_hash() const { return leaf_hash_; }

 private:
  friend class DatasetReader;
  friend struct ApprovedSampleTestAccess;

  ApprovedSample(uint64_t leaf_index, std::array<uint8_t, 32> leaf_hash, ApprovedContent content)
      : leaf_index_(leaf_index), leaf_hash_(leaf_hash), content_(std::move(content)) {}

  uint64_t leaf_index_;
  std::array<uint8_t, 32> leaf_hash_;
  ApprovedContent content_;
};

}  // namespace retort::ledger

#endif  // LEDGER_APPROVED_SAMPLE_H_
