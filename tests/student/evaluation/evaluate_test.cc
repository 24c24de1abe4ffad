#include "student/evaluation/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/student/export/golden_students.h"
#include "tests/student/training/approved_samples.h"

namespace retort::student {
namespace {

std::vector<Document> Documents(int count) {
  std::vector<Document> documents;
  for (int i = 0; i < count; ++i) {
    const auto document = MakeDocument(TestSample(static_cast<uint64_t>(i), 5, 9),
                                       {TestTokenizerDigest(), kTestVocabulary, true, nullptr});
    EXPECT_TRUE(document.ok());
    documents.push_back(*document);
  }
  return documents;
}

// The definitions, computed from logits by hand.
TEST(EvaluateTest, MatchesItsDefinition) {
  ThreadPool pool(2);
  Model model(UnitConfig(), pool);
  const ParameterSet weights = GoldenWeights(UnitConfig());
  const auto documents = Documents(4);
  double kl = 0, cross_entropy = 0;
  int agreeing = 0, tokens = 0;
  for (const Document& document : documents) {
    const std::vector<int32_t> ids(document.tokens.begin(), document.tokens.end());
    for (size_t i = document.completion_begin; i < ids.size(); ++i) {
      const auto logits =
          model.ForwardLogits(weights, ids, std::vector<int32_t>{static_cast<int32_t>(i) - 1});
      double sum = 0;
      size_t best = 0;
      for (size_t v = 0; v < logits.size(); ++v) {
        sum += std::exp(static_cast<double>(logits[v]));
        if (logits[v] > logits[best]) best = v;
      }
      const size_t row = i - document.completion_begin;
      double inside = 0;
      for (size_t j = 0; j < document.k; ++j) {
        const double p = std::exp(static_cast<double>(logits[document.top_ids[row * document.k + j]])) / sum;
        const double q = std::exp(static_cast<double>(document.top_logprobs[row * document.k + j]));
        kl += q * std::log(q / p);
        inside += p;
      }
      const double tail = std::exp(static_cast<double>(document.tail_logprobs[row]));
      kl += tail * std::log(tail / (1 - inside));
      cross_entropy -= std::log(std::exp(static_cast<double>(logits[document.tokens[i]])) / sum);
      if (best == document.top_ids[row * document.k]) ++agreeing;
      ++tokens;
    }
  }
  const auto quality = Evaluate(model, weights, documents);
  ASSERT_TRUE(quality.ok()) << quality.status();
  EXPECT_EQ(quality->tokens, tokens);
  EXPECT_EQ(quality->distribution_tokens, tokens);
  EXPECT_NEAR(quality->kl, kl / tokens, 1e-5);
  EXPECT_NEAR(quality->perplexity, std::exp(cross_entropy / tokens), 1e-3);
  EXPECT_DOUBLE_EQ(quality->agreement, static_cast<double>(agreeing) / tokens);
}

TEST(EvaluateTest, RefusesWhatItCannotMeasure) {
  ThreadPool pool(1);
  ModelConfig config = UnitConfig();
  config.context = 64;
  Model model(config, pool);
  const ParameterSet weights = GoldenWeights(config);
  EXPECT_EQ(Evaluate(model, weights, {}).status().code(), absl::StatusCode::kFailedPrecondition);
  auto documents = Documents(1);
  documents[0].k = 0;
  EXPECT_EQ(Evaluate(model, weights, documents).status().code(), absl::StatusCode::kFailedPrecondition);
  documents = Documents(1);
  documents[0].tokens[2] = 600;
  EXPECT_EQ(Evaluate(model, weights, documents).status().code(), absl::StatusCode::kInvalidArgument);
  const auto long_document =
      MakeDocument(TestSample(1, 40, 40), {TestTokenizerDigest(), kTestVocabulary, true, nullptr});
  EXPECT_EQ(Evaluate(model, weights, {*long_document}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace retort::student
