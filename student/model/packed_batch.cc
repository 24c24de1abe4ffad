#include "student/model/packed_batch.h"

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

namespace retort::student {
namespace {

std::string At(const char* field, std::size_t index, const std::string& seen, const std::string& wanted) {
  return std::string(field) + "[" + std::to_string(index) + "] is " + seen + "; wanted " + wanted;
}

std::string CheckSize(const char* field, std::size_t seen, std::size_t wanted) {
  if (seen == wanted) return {};
  return std::string(field) + " has " + std::to_string(seen) + " elements; wanted " + std::to_string(wanted);
}

std::string CheckDocuments(const ModelConfig& config, const PackedBatch& batch) {
  const auto& starts = batch.document_starts;
  if (starts.size() < 2 || starts.front() != 0 || starts.back() != batch.size()) {
    return "document_starts must begin with 0 and end with the number of tokens, " +
           std::to_string(batch.size());
  }
  for (std::size_t d = 0; d + 1 < starts.size(); ++d) {
    if (starts[d + 1] <= starts[d]) {
      return At("document_starts", d + 1, std::to_string(starts[d + 1]), "more than the start before it");
    }
    if (starts[d + 1] > batch.size()) {
      return At("document_starts", d + 1, std::to_string(starts[d + 1]), "at most the number of tokens");
    }
    if (starts[d + 1] - starts[d] > config.context) {
      return At("document_starts", d + 1, std::to_string(starts[d + 1]),
                "a document of at most " + std::to_string(config.context) + " tokens");
    }
    for (std::int32_t t = starts[d]; t < starts[d + 1]; ++t) {
      if (batch.positions[t] != t - starts[d]) {
        return At("positions", t, std::to_string(batch.positions[t]), std::to_string(t - starts[d]));
      }
    }
  }
  return {};
}

std::string CheckTeacher(const ModelConfig& config, const PackedBatch& batch, std::size_t t,
                         std::vector<std::int64_t>* seen) {
  const std::int32_t count = batch.teacher_counts[t];
  if (count < 0 || count > batch.teacher_k) {
    return At("teacher_counts", t, std::to_string(count), "0 to " + std::to_string(batch.teacher_k));
  }
  for (std::int32_t k = 0; k < count; ++k) {
    const std::size_t i = t * batch.teacher_k + k;
    const std::int32_t id = batch.teacher_ids[i];
    if (id < 0 || id >= config.vocabulary) {
      return At("teacher_ids", i, std::to_string(id),
                "a token id below " + std::to_string(config.vocabulary));
    }
    if ((*seen)[id] == static_cast<std::int64_t>(t))
      return At("teacher_ids", i, std::to_string(id), "an id not yet in its row");
    (*seen)[id] = static_cast<std::int64_t>(t);
    if (!(batch.teacher_logprobs[i] <= 0)) {
      return At("teacher_logprobs", i, std::to_string(batch.teacher_logprobs[i]), "at most 0");
    }
  }
  if (count > 0 && !(batch.teacher_tail_logprobs[t] <= 0)) {
    return At("teacher_tail_logprobs", t, std::to_string(batch.teacher_tail_logprobs[t]), "at most 0");
  }
  return {};
}

}  // namespace

std::string ValidateBatch(const ModelConfig& config, const PackedBatch& batch) {
  const std::size_t tokens = batch.tokens.size();
  if (tokens == 0 || tokens > (1u << 24))
    return "tokens has " + std::to_string(tokens) + " elements; wanted 1 to 2^24";
  if (auto p = CheckSize("positions", batch.positions.size(), tokens); !p.empty()) return p;
  if (auto p = CheckSize("targets", batch.targets.size(), tokens); !p.empty()) return p;
  if (auto p = CheckSize("weights", batch.weights.size(), tokens); !p.empty()) return p;
  if (batch.teacher_k < 0 || batch.teacher_k > config.vocabulary) {
    return "teacher_k is " + std::to_string(batch.teacher_k) + "; wanted 0 to the vocabulary, " +
           std::to_string(config.vocabulary);
  }
  const std::size_t rows = batch.teacher_k > 0 ? tokens : 0, entries = rows * batch.teacher_k;
  if (auto p = CheckSize("teacher_counts", batch.teacher_counts.size(), rows); !p.empty()) return p;
  if (auto p = CheckSize("teacher_ids", batch.teacher_ids.size(), entries); !p.empty()) return p;
  if (auto p = CheckSize("teacher_logprobs", batch.teacher_logprobs.size(), entries); !p.empty()) return p;
  if (auto p = CheckSize("teacher_tail_logprobs", batch.teacher_tail_logprobs.size(), rows); !p.empty())
    return p;
  if (auto p = CheckDocuments(config, batch); !p.empty()) return p;
  std::vector<std::int64_t> seen(rows > 0 ? config.vocabulary : 0, -1);
  for (std::size_t t = 0; t < tokens; ++t) {
    if (batch.tokens[t] < 0 || batch.tokens[t] >= config.vocabulary) {
      return At("tokens", t, std::to_string(batch.tokens[t]),
                "a token id below " + std::to_string(config.vocabulary));
    }
    if (!(batch.weights[t] >= 0) || !std::isfinite(batch.weights[t])) {
      return At("weights", t, std::to_string(batch.weights[t]), "a finite number of at least 0");
    }
    if (batch.weights[t] != 0 && (batch.targets[t] < 0 || batch.targets[t] >= config.vocabulary)) {
      return At("targets", t, std::to_string(batch.targets[t]),
                "a token id below " + std::to_string(config.vocabulary));
    }
    if (rows == 0) continue;
    if (auto p = CheckTeacher(config, batch, t, &seen); !p.empty()) return p;
  }
  return {};
}

PackedBatch ShiftedBatch(const PackedBatch& batch, int depth) {
  PackedBatch shifted;
  shifted.positions = batch.positions;
  shifted.document_starts = batch.document_starts;
  shifted.tokens.resize(batch.tokens.size());
  shifted.targets.resize(batch.tokens.size(), 0);
  shifted.weights.resize(batch.tokens.size(), 0.0f);
  for (std::size_t d = 0; d + 1 < batch.document_starts.size(); ++d) {
    const std::int32_t end = batch.document_starts[d + 1];
    for (std::int32_t t = batch.document_starts[d]; t < end; ++t) {
      const bool within = depth < end - t;
      shifted.tokens[t] = batch.tokens[within ? t + depth : end - 1];
      if (!within) continue;
      shifted.targets[t] = batch.targets[t + depth];
      shifted.weights[t] = batch.weights[t + depth];
    }
  }
  return shifted;
}

double ValidTokens(const PackedBatch& batch) {
  double sum = 0;
  for (const float weight : batch.weights) sum += weight;
  return sum;
}

}  // namespace retort::student
