// A made-up batch of documents of one length with a made-up teacher, on the host and on a backend.
#ifndef STUDENT_BENCH_BENCH_BATCH_H_
#define STUDENT_BENCH_BENCH_BATCH_H_

#include <cstdint>
#include <vector>

#include "student/bench/bench_memory.h"
#include "student/device/backend.h"
#include "student/model/packed_batch.h"
#include "student/ops/attention.h"

namespace retort::student {

struct BatchShape {
  std::int64_t tokens = 0;
  int document = 0;   // tokens of each document; the last may be shorter
  int teacher_k = 0;  // stored entries per position
};

// Tokens, targets and teachers from a fixed sequence; every position learns, which is the most expensive
// case.
PackedBatch MakeBatch(const ModelConfig& config, const BatchShape& shape);

class BenchBatch {
 public:
  BenchBatch(Backend& backend, const ModelConfig& config, const BatchShape& shape);

  const BatchTables& tables() const { return tables_; }
  PassLimits limits(const ModelConfig& config) const;
  // Pairs (query, key) that attention visits, over all documents.
  double attention_pairs() const;
  int distinct_tokens() const;

 private:
  const PackedBatch host_;
  BenchMemory memory_;
  std::vector<AttentionSpan> documents_;
  std::vector<std::int32_t> loss_rows_;
  BatchTables tables_;
};

}  // namespace retort::student

#endif  // STUDENT_BENCH_BENCH_BATCH_H_
