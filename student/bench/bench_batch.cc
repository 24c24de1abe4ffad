#include "student/bench/bench_batch.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace retort::student {

PackedBatch MakeBatch(const ModelConfig& config, const BatchShape& shape) {
  std::uint32_t state = 1;
  const auto next = [&] {
    state = state * 1664525u + 1013904223u;
    return static_cast<std::int32_t>((state >> 8) % static_cast<std::uint32_t>(config.vocabulary));
  };
  PackedBatch batch;
  batch.teacher_k = shape.teacher_k;
  batch.document_starts = {0};
  for (std::int64_t t = 0; t < shape.tokens; ++t) {
    batch.tokens.push_back(next());
    batch.targets.push_back(next());
    batch.positions.push_back(static_cast<std::int32_t>(t % shape.document));
    batch.weights.push_back(1);
    if ((t + 1) % shape.document == 0 || t + 1 == shape.tokens) {
      batch.document_starts.push_back(static_cast<std::int32_t>(t + 1));
    }
    if (shape.teacher_k == 0) continue;
    // Entry i has probability 2^-(i+1), the tail what is left; ids are a stride apart and so distinct.
    const std::int32_t first = next(), stride = std::max(1, config.vocabulary / (shape.teacher_k + 1));
    batch.teacher_counts.push_back(shape.teacher_k);
    for (int i = 0; i < shape.teacher_k; ++i) {
      batch.teacher_ids.push_back((first + i * stride) % config.vocabulary);
      batch.teacher_logprobs.push_back(-static_cast<float>(i + 1) * 0.69314718f);
    }
    batch.teacher_tail_logprobs.push_back(-static_cast<float>(shape.teacher_k) * 0.69314718f);
  }
  return batch;
}

BenchBatch::BenchBatch(Backend& backend, const ModelConfig& config, const BatchShape& shape)
    : host_(MakeBatch(config, shape)), memory_(backend), loss_rows_(host_.tokens.size()) {
  std::iota(loss_rows_.begin(), loss_rows_.end(), 0);
  for (std::size_t d = 0; d + 1 < host_.document_starts.size(); ++d) {
    const std::int64_t first = host_.document_starts[d], count = host_.document_starts[d + 1] - first;
    documents_.push_back({first, count, first, count});
  }
  const auto copy = [&](const auto& values) { return memory_.Copy(std::span(values)); };
  tables_ = {.host = &host_,
             .host_documents = documents_,
             .positions = host_.size(),
             .rows = host_.size(),
             .tokens = copy(host_.tokens),
             .token_positions = copy(host_.positions),
             .document_starts = copy(host_.document_starts),
             .targets = copy(host_.targets),
             .weights = copy(host_.weights),
             .loss_rows = copy(loss_rows_),
             .host_loss_rows = loss_rows_};
  if (shape.teacher_k > 0) {
    tables_.teacher_counts = copy(host_.teacher_counts);
    tables_.teacher_ids = copy(host_.teacher_ids);
    tables_.teacher_logprobs = copy(host_.teacher_logprobs);
    tables_.teacher_tail_logprobs = copy(host_.teacher_tail_logprobs);
  }
}

PassLimits BenchBatch::limits(const ModelConfig& config) const {
  return {.positions = tables_.positions,
          .rows = tables_.rows,
          .documents = static_cast<int>(documents_.size()),
          .teacher_k = host_.teacher_k,
          .slots = tables_.positions * config.experts_per_token};
}

double BenchBatch::attention_pairs() const {
  double pairs = 0;
  for (const AttentionSpan& span : documents_) {
    pairs += static_cast<double>(span.queries) * static_cast<double>(span.queries + 1) / 2;
  }
  return pairs;
}

int BenchBatch::distinct_tokens() const {
  std::vector<std::int32_t> tokens = host_.tokens;
  std::sort(tokens.begin(), tokens.end());
  return static_cast<int>(std::unique(tokens.begin(), tokens.end()) - tokens.begin());
}

}  // namespace retort::student
