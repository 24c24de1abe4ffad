// A reproducible batch of made-up documents with a made-up teacher.
#ifndef TESTS_STUDENT_MODEL_RANDOM_BATCH_H_
#define TESTS_STUDENT_MODEL_RANDOM_BATCH_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "student/model/config.h"
#include "student/model/packed_batch.h"

namespace retort::student {

// Documents of the given lengths. The first fifth of each is a prompt without loss. Teachers store
// `teacher_k` tokens for every position but each seventh; 0 = no teacher.
inline PackedBatch RandomBatch(const ModelConfig& config, const std::vector<int>& lengths, int teacher_k,
                               unsigned seed) {
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<std::int32_t>(random() % static_cast<unsigned>(n)); };
  PackedBatch batch;
  batch.teacher_k = teacher_k;
  batch.document_starts = {0};
  for (const int length : lengths) {
    for (int i = 0; i < length; ++i) {
      batch.tokens.push_back(below(config.vocabulary));
      batch.positions.push_back(i);
      batch.targets.push_back(below(config.vocabulary));
      batch.weights.push_back(i + 1 < length && i >= length / 5 ? 1.0f : 0.0f);
    }
    batch.document_starts.push_back(static_cast<std::int32_t>(batch.tokens.size()));
  }
  if (teacher_k == 0) return batch;
  for (std::size_t t = 0; t < batch.tokens.size(); ++t) {
    const bool present = t % 7 != 6;
    batch.teacher_counts.push_back(present ? teacher_k : 0);
    std::vector<std::int32_t> ids;
    std::vector<double> masses;
    double sum = 0.5;  // the tail's
    while (static_cast<int>(ids.size()) < teacher_k) {
      const std::int32_t id = ids.empty() && t % 2 == 0 ? batch.targets[t] : below(config.vocabulary);
      if (std::find(ids.begin(), ids.end(), id) != ids.end()) continue;
      ids.push_back(id);
      masses.push_back(std::exp(-0.3 * static_cast<double>(ids.size())));
      sum += masses.back();
    }
    for (int k = 0; k < teacher_k; ++k) {
      batch.teacher_ids.push_back(ids[k]);
      batch.teacher_logprobs.push_back(static_cast<float>(std::log(masses[k] / sum)));
    }
    batch.teacher_tail_logprobs.push_back(static_cast<float>(std::log(0.5 / sum)));
  }
  return batch;
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_MODEL_RANDOM_BATCH_H_
