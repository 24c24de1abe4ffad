#include "student/training/document.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "student/formats/message.h"
#include "student/formats/sha256.h"

namespace retort::student {
namespace {

constexpr double kMassMax = 1 + 1e-3;  // log-probabilities are stored as fp32

struct Refusal {
  uint64_t leaf_index;
  absl::Status operator()(std::string_view field, std::string_view seen, std::string_view wanted) const {
    return absl::InvalidArgumentError(
        Message("sample at leaf ", leaf_index, ": ", field, ": ", seen, "; wanted ", wanted));
  }
  absl::Status State(std::string_view what) const {
    return absl::FailedPreconditionError(Message("sample at leaf ", leaf_index, ": ", what));
  }
};

absl::Status CheckIds(const Refusal& refuse, const char* field, const std::vector<uint32_t>& ids,
                      uint32_t vocabulary) {
  if (ids.empty()) return refuse(field, "empty", "at least one token");
  const auto largest = *std::max_element(ids.begin(), ids.end());
  if (largest < vocabulary) return absl::OkStatus();
  return refuse(field, Message("id ", largest), Message("below the vocabulary size ", vocabulary));
}

// The teacher's alternatives at one position must be a distribution: distinct ids, descending, mass of at
// most one.
absl::Status CheckRow(const Refusal& refuse, std::span<const uint32_t> ids, std::span<const float> logprobs,
                      float tail, uint32_t vocabulary) {
  double mass = 0;
  float last = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= vocabulary) {
      return refuse("top_ids", Message("id ", ids[i]), Message("below the vocabulary size ", vocabulary));
    }
    if (!(logprobs[i] <= last))
      return refuse("top_logprobs", Message(logprobs[i]), "descending from at most 0");
    last = logprobs[i];
    mass += std::exp(static_cast<double>(logprobs[i]));
  }
  std::vector<uint32_t> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    return refuse("top_ids", "an id twice in one position", "distinct ids");
  }
  if (!(tail <= 0)) return refuse("tail_logprobs", Message(tail), "at most 0");
  mass += std::exp(static_cast<double>(tail));
  if (mass > kMassMax)
    return refuse("top_logprobs", Message("a mass of ", mass), Message("at most ", kMassMax));
  return absl::OkStatus();
}

absl::Status CopyDistribution(const Refusal& refuse, const ledger::ApprovedContent& content,
                              uint32_t vocabulary, Document& document) {
  const size_t positions = content.completion_ids.size();
  const size_t k = content.k;
  if (k > vocabulary) return refuse("k", Message(k), Message("at most the vocabulary size ", vocabulary));
  if (content.top_ids.size() != positions * k || content.top_logprobs.size() != positions * k ||
      content.tail_logprobs.size() != positions) {
    return refuse("top_ids, top_logprobs, tail_logprobs",
                  Message(content.top_ids.size(), ", ", content.top_logprobs.size(), ", ",
                          content.tail_logprobs.size(), " values"),
                  Message(positions * k, ", ", positions * k, ", ", positions));
  }
  for (size_t i = 0; i < positions; ++i) {
    if (auto status =
            CheckRow(refuse, std::span(content.top_ids).subspan(i * k, k),
                     std::span(content.top_logprobs).subspan(i * k, k), content.tail_logprobs[i], vocabulary);
        !status.ok()) {
      return status;
    }
  }
  document.k = content.k;
  document.top_ids = content.top_ids;
  document.top_logprobs = content.top_logprobs;
  document.tail_logprobs = content.tail_logprobs;
  return absl::OkStatus();
}

absl::Status Tokenise(const Refusal& refuse, const ledger::ApprovedContent& content,
                      const Tokenizer* tokenizer, std::vector<uint32_t>& prompt,
                      std::vector<uint32_t>& completion) {
  if (tokenizer == nullptr) return refuse.State("it has no token ids, and no tokenizer was given");
  std::vector<ChatTurn> turns;
  for (const auto& turn : content.messages) turns.push_back({turn.role, turn.content});
  const auto ids = tokenizer->EncodeChat(turns, /*add_generation_prompt=*/true);
  if (!ids.ok()) {
    return absl::Status(ids.status().code(),
                        Message("sample at leaf ", refuse.leaf_index, ": ", ids.status().message()));
  }
  prompt.assign(ids->begin(), ids->end());
  const auto text = tokenizer->Encode(content.completion);
  if (text.empty()) return refuse("completion", "empty", "at least one token");
  completion.assign(text.begin(), text.end());
  if (tokenizer->eos()) completion.push_back(static_cast<uint32_t>(*tokenizer->eos()));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Document> MakeDocument(const ledger::ApprovedSample& sample, const DocumentOptions& options) {
  const ledger::ApprovedContent& content = sample.content();
  const Refusal refuse{sample.leaf_index()};
  Document document;
  document.leaf_index = sample.leaf_index();
  document.leaf_hash = sample.leaf_hash();

  const bool has_ids = !content.prompt_ids.empty() || !content.completion_ids.empty();
  if (!has_ids && content.k != 0) return refuse("k", Message(content.k), "0, since there are no token ids");
  std::vector<uint32_t> prompt = content.prompt_ids, completion = content.completion_ids;
  if (has_ids) {
    if (content.tokenizer_sha256 != options.tokenizer_sha256) {
      return refuse.State(Message("its tokenizer is ", HexOf(content.tokenizer_sha256), "; the student's is ",
                                  HexOf(options.tokenizer_sha256)));
    }
    if (content.vocabulary_size != options.vocabulary_size) {
      return refuse("vocabulary_size", Message(content.vocabulary_size),
                    Message(options.vocabulary_size, ", as its tokenizer has"));
    }
  } else if (auto status = Tokenise(refuse, content, options.tokenizer, prompt, completion); !status.ok()) {
    return status;
  }
  if (auto s = CheckIds(refuse, "prompt_ids", prompt, options.vocabulary_size); !s.ok()) return s;
  if (auto s = CheckIds(refuse, "completion_ids", completion, options.vocabulary_size); !s.ok()) return s;
  if (content.k != 0) {
    if (auto s = CopyDistribution(refuse, content, options.vocabulary_size, document); !s.ok()) return s;
  } else if (options.want_logits) {
    return refuse.State("it has no log-probabilities, and the run learns from them; use run text_only");
  }
  document.completion_begin = static_cast<uint32_t>(prompt.size());
  document.tokens = std::move(prompt);
  document.tokens.insert(document.tokens.end(), completion.begin(), completion.end());
  return document;
}

}  // namespace retort::student
