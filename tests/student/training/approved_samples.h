// Approved samples made from nothing, for tests of training code. Product code gets them from
// ledger::DatasetReader only.
#ifndef TESTS_STUDENT_TRAINING_APPROVED_SAMPLES_H_
#define TESTS_STUDENT_TRAINING_APPROVED_SAMPLES_H_

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "ledger/approved_sample.h"
#include "student/training/row_stream.h"

namespace retort::ledger {

struct ApprovedSampleTestAccess {
  static ApprovedSample Make(uint64_t leaf_index, ApprovedContent content) {
    std::array<uint8_t, 32> leaf_hash{};
    for (size_t i = 0; i < 8; ++i) leaf_hash[i] = static_cast<uint8_t>(leaf_index >> (8 * i));
    leaf_hash[31] = 1;
    return ApprovedSample(leaf_index, leaf_hash, std::move(content));
  }
};

}  // namespace retort::ledger

namespace retort::student {

constexpr uint32_t kTestVocabulary = 512;

inline std::array<uint8_t, 32> TestTokenizerDigest() {
  std::array<uint8_t, 32> digest{};
  digest.fill(0xab);
  return digest;
}

// A sample of a language in which token n is followed by 7 n + 3 with probability 0.9 and by 7 n + 4 with
// 0.08.
inline ledger::ApprovedContent TestContent(uint64_t index, uint32_t prompt_tokens,
                                           uint32_t completion_tokens) {
  ledger::ApprovedContent content;
  content.prompt_id = "p" + std::to_string(index);
  content.messages = {{"user", "hello"}};
  content.completion = "there";
  content.tokenizer_sha256 = TestTokenizerDigest();
  content.vocabulary_size = kTestVocabulary;
  content.k = 2;
  auto token = static_cast<uint32_t>(CounterRandom(99, 0, 0, index) % kTestVocabulary);
  for (uint32_t i = 0; i < prompt_tokens + completion_tokens; ++i) {
    const uint32_t next = (7 * token + 3) % kTestVocabulary;
    if (i < prompt_tokens) {
      content.prompt_ids.push_back(token);
    } else {
      content.completion_ids.push_back(token);
    }
    if (i + 1 >= prompt_tokens && i + 1 < prompt_tokens + completion_tokens) {
      content.top_ids.insert(content.top_ids.end(), {next, (next + 1) % kTestVocabulary});
      content.top_logprobs.insert(content.top_logprobs.end(), {std::log(0.9f), std::log(0.08f)});
      content.tail_logprobs.push_back(std::log(0.02f));
    }
    token = next;
  }
  return content;
}

inline ledger::ApprovedSample TestSample(uint64_t index, uint32_t prompt_tokens = 5,
                                         uint32_t completion_tokens = 20) {
  return ledger::ApprovedSampleTestAccess::Make(index, TestContent(index, prompt_tokens, completion_tokens));
}

inline std::vector<ledger::ApprovedSample> TestSamples(uint64_t count) {
  std::vector<ledger::ApprovedSample> samples;
  for (uint64_t i = 0; i < count; ++i) {
    samples.push_back(
        TestSample(i, 4 + static_cast<uint32_t>(i % 5), 12 + static_cast<uint32_t>(i * 7 % 23)));
  }
  return samples;
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_TRAINING_APPROVED_SAMPLES_H_
