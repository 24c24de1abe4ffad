#include "student/training/row_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/student/training/approved_samples.h"

namespace retort::student {
namespace {

Document DocumentOf(uint32_t tokens, uint32_t completion_begin) {
  Document document;
  for (uint32_t i = 0; i < tokens; ++i) document.tokens.push_back(i);
  document.completion_begin = completion_begin;
  document.k = 1;
  for (uint32_t i = completion_begin; i < tokens; ++i) {
    document.top_ids.push_back(100 + i);
    document.top_logprobs.push_back(-0.1f);
    document.tail_logprobs.push_back(-2.3f);
  }
  return document;
}

uint32_t Filled(const Row& row) {
  uint32_t filled = 0;
  for (const auto& piece : row) filled += piece.end - piece.begin;
  return filled;
}

TEST(RowStreamTest, PacksBestFitDecreasing) {
  // Positions 60, 50, 40, 30, 14 into rows of 100: 60+40, 50+30+14.
  std::vector<Document> documents;
  for (const uint32_t positions : {40, 60, 14, 50, 30}) documents.push_back(DocumentOf(positions + 1, 1));
  RowStream stream(documents, 100, 1);
  ASSERT_EQ(stream.rows_per_epoch(), 2);
  std::vector<uint32_t> filled = {Filled(stream.At(0)), Filled(stream.At(1))};
  std::sort(filled.begin(), filled.end());
  EXPECT_EQ(filled, (std::vector<uint32_t>{94, 100}));
}

TEST(RowStreamTest, SeesEveryTargetOncePerEpoch) {
  std::vector<Document> documents;
  for (uint32_t i = 0; i < 40; ++i) documents.push_back(DocumentOf(60 + i * 13 % 200, 5 + i));
  RowStream stream(documents, 64, 5);
  EXPECT_GT(stream.split_documents(), 0);
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::map<std::pair<uint32_t, uint32_t>, int> seen;
    for (int64_t r = 0; r < stream.rows_per_epoch(); ++r) {
      const Row row = stream.At(epoch * stream.rows_per_epoch() + r);
      EXPECT_LE(Filled(row), 64u);
      for (const auto& piece : row) {
        EXPECT_EQ(piece.begin % 64, 0u);
        for (uint32_t i = piece.begin; i < piece.end; ++i) {
          if (i + 1 >= documents[piece.document].completion_begin) ++seen[{piece.document, i + 1}];
        }
      }
    }
    size_t targets = 0;
    for (const auto& document : documents) targets += document.tokens.size() - document.completion_begin;
    EXPECT_EQ(seen.size(), targets);
    for (const auto& [target, count] : seen) EXPECT_EQ(count, 1);
  }
}

TEST(RowStreamTest, DropsPiecesWithoutACompletion) {
  RowStream stream({DocumentOf(300, 280)}, 64, 0);
  EXPECT_EQ(stream.rows_per_epoch(), 1);  // positions 256..298 only; the first with a target is 279
  EXPECT_EQ(stream.At(0)[0].begin, 256u);
  EXPECT_EQ(stream.At(0)[0].end, 299u);
}

TEST(RowStreamTest, DependsOnSeedAndEpochAlone) {
  std::vector<Document> documents;
  for (uint32_t i = 0; i < 30; ++i) documents.push_back(DocumentOf(30, 3));
  const auto order = [&](uint64_t seed, int64_t first, int64_t rows) {
    RowStream stream(documents, 64, seed);
    std::vector<uint32_t> ids;
    for (int64_t r = first; r < first + rows; ++r) {
      for (const auto& piece : stream.At(r)) ids.push_back(piece.document);
    }
    return ids;
  };
  EXPECT_EQ(order(1, 0, 15), order(1, 0, 15));
  EXPECT_NE(order(1, 0, 15), order(2, 0, 15));
  EXPECT_NE(order(1, 0, 15), order(1, 15, 15));
  const auto two_epochs = order(1, 0, 30);
  EXPECT_EQ(order(1, 15, 15), std::vector<uint32_t>(two_epochs.begin() + 30, two_epochs.end()));
}

TEST(MakeBatchTest, WeighsCompletionTargetsOnly) {
  // Tokens 0 1 2 3 4, completion from 3: positions 0..3, of which 2 and 3 predict the completion.
  const std::vector<Document> documents = {DocumentOf(5, 3), DocumentOf(3, 1)};
  const std::vector<RowPiece> pieces = {{0, 0, 4}, {1, 0, 2}};
  const PackedBatch batch = MakeBatch(documents, pieces, true);
  EXPECT_EQ(batch.tokens, (std::vector<int32_t>{0, 1, 2, 3, 0, 1}));
  EXPECT_EQ(batch.positions, (std::vector<int32_t>{0, 1, 2, 3, 0, 1}));
  EXPECT_EQ(batch.document_starts, (std::vector<int32_t>{0, 4, 6}));
  EXPECT_EQ(batch.targets, (std::vector<int32_t>{1, 2, 3, 4, 1, 2}));
  EXPECT_EQ(batch.weights, (std::vector<float>{0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(batch.teacher_k, 1);
  EXPECT_EQ(batch.teacher_counts, (std::vector<int32_t>{0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(batch.teacher_ids, (std::vector<int32_t>{0, 0, 103, 104, 101, 102}));
  EXPECT_EQ(batch.teacher_tail_logprobs[2], -2.3f);
}

TEST(MakeBatchTest, RestartsPositionsOfALaterPiece) {
  const std::vector<Document> documents = {DocumentOf(10, 2)};
  const std::vector<RowPiece> pieces = {{0, 4, 9}};
  const PackedBatch batch = MakeBatch(documents, pieces, false);
  EXPECT_EQ(batch.tokens, (std::vector<int32_t>{4, 5, 6, 7, 8}));
  EXPECT_EQ(batch.positions, (std::vector<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(batch.targets.back(), 9);
  EXPECT_EQ(batch.teacher_k, 0);
  EXPECT_TRUE(batch.teacher_counts.empty());
}

}  // namespace
}  // namespace retort::student
