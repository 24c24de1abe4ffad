#include "student/model/packed_batch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "tests/student/model/random_batch.h"

namespace retort::student {
namespace {

TEST(PackedBatchTest, AcceptsGoodBatches) {
  EXPECT_EQ(ValidateBatch(UnitConfig(), RandomBatch(UnitConfig(), {5, 1, 9}, 3, 1)), "");
  EXPECT_EQ(ValidateBatch(UnitConfig(), RandomBatch(UnitConfig(), {1}, 0, 1)), "");
  PackedBatch all_stored = RandomBatch(UnitConfig(), {4}, 2, 1);
  all_stored.teacher_tail_logprobs[0] = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(ValidateBatch(UnitConfig(), all_stored), "");
  EXPECT_EQ(ValidTokens(RandomBatch(UnitConfig(), {5, 1, 9}, 0, 1)), 3 + 0 + 7);
}

TEST(PackedBatchTest, SaysWhatIsWrong) {
  const struct {
    const char* want;
    std::function<void(PackedBatch*)> change;
  } cases[] = {
      {"tokens has 0 elements; wanted 1 to 2^24", [](PackedBatch* b) { b->tokens.clear(); }},
      {"targets has 13 elements; wanted 14", [](PackedBatch* b) { b->targets.pop_back(); }},
      {"teacher_ids has 41 elements; wanted 42", [](PackedBatch* b) { b->teacher_ids.pop_back(); }},
      {"document_starts must begin with 0 and end with the number of tokens, 14",
       [](PackedBatch* b) { b->document_starts.back() = 13; }},
      {"document_starts[2] is 5; wanted more than the start before it",
       [](PackedBatch* b) {
         b->document_starts = {0, 5, 5, 14};
       }},
      {"positions[6] is 0; wanted 1", [](PackedBatch* b) { b->positions[6] = 0; }},
      {"tokens[2] is 512; wanted a token id below 512", [](PackedBatch* b) { b->tokens[2] = 512; }},
      {"targets[2] is -1; wanted a token id below 512", [](PackedBatch* b) { b->targets[2] = -1; }},
      {"weights[3] is nan; wanted a finite number of at least 0",
       [](PackedBatch* b) { b->weights[3] = std::nanf(""); }},
      {"teacher_k is 600; wanted 0 to the vocabulary, 512", [](PackedBatch* b) { b->teacher_k = 600; }},
      {"teacher_counts[1] is 4; wanted 0 to 3", [](PackedBatch* b) { b->teacher_counts[1] = 4; }},
      {"teacher_ids[4] is -7; wanted a token id below 512", [](PackedBatch* b) { b->teacher_ids[4] = -7; }},
      {"teacher_ids[1] is 9; wanted an id not yet in its row",
       [](PackedBatch* b) { b->teacher_ids[0] = b->teacher_ids[1] = 9; }},
      {"teacher_logprobs[2] is 0.500000; wanted at most 0",
       [](PackedBatch* b) { b->teacher_logprobs[2] = 0.5f; }},
      {"teacher_tail_logprobs[0] is nan; wanted at most 0",
       [](PackedBatch* b) { b->teacher_tail_logprobs[0] = std::nanf(""); }},
  };
  for (const auto& c : cases) {
    PackedBatch batch = RandomBatch(UnitConfig(), {5, 9}, 3, 1);
    c.change(&batch);
    EXPECT_EQ(ValidateBatch(UnitConfig(), batch), c.want);
  }
}

TEST(ShiftedBatchTest, LooksAheadWithinItsDocument) {
  PackedBatch batch;
  batch.tokens = {10, 11, 12, 13, 20, 30, 31};
  batch.targets = {11, 12, 13, 14, 21, 31, 32};
  batch.weights = {0, 1, 1, 1, 1, 1, 1};  // the first token is a prompt
  batch.positions = {0, 1, 2, 3, 0, 0, 1};
  batch.document_starts = {0, 4, 5, 7};
  const PackedBatch one = ShiftedBatch(batch, 1);
  EXPECT_EQ(one.tokens, (std::vector<std::int32_t>{11, 12, 13, 13, 20, 31, 31}));
  EXPECT_EQ(one.targets, (std::vector<std::int32_t>{12, 13, 14, 0, 0, 32, 0}));
  EXPECT_EQ(one.weights, (std::vector<float>{1, 1, 1, 0, 0, 1, 0}));
  EXPECT_EQ(one.positions, batch.positions);  // rotary positions stay
  EXPECT_EQ(one.document_starts, batch.document_starts);
  const PackedBatch three = ShiftedBatch(batch, 3);
  EXPECT_EQ(three.tokens, (std::vector<std::int32_t>{13, 13, 13, 13, 20, 31, 31}));
  EXPECT_EQ(three.targets, (std::vector<std::int32_t>{14, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(three.weights, (std::vector<float>{1, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(ValidTokens(ShiftedBatch(batch, 4)), 0);
}

TEST(ShiftedBatchTest, IsValidAndHasNoTeacher) {
  const PackedBatch batch = RandomBatch(UnitConfig(), {5, 1, 9}, 3, 1);
  for (int depth = 1; depth <= kPredictionLayersMax; ++depth) {
    const PackedBatch shifted = ShiftedBatch(batch, depth);
    EXPECT_EQ(ValidateBatch(UnitConfig(), shifted), "");
    EXPECT_EQ(shifted.size(), batch.size());
    EXPECT_EQ(shifted.teacher_k, 0);
  }
}

TEST(PackedBatchTest, RefusesDocumentsBeyondTheContext) {
  ModelConfig config = UnitConfig();
  config.context = 8;
  EXPECT_EQ(ValidateBatch(config, RandomBatch(config, {9}, 0, 1)),
            "document_starts[1] is 9; wanted a document of at most 8 tokens");
}

}  // namespace
}  // namespace retort::student
