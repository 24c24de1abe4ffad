// The endless stream of packed rows that a run learns from: an epoch after an epoch, each in an order of its
// own.
//
// A document of n tokens has n - 1 positions (the last token predicts nothing). One that is longer than a row
// is cut into pieces of a row's length, whose positions restart; each position keeps its target, so no token
// is lost. Pieces without a completion token teach nothing and are left out. Every epoch draws a permutation
// of the pieces, packs them best-fit-decreasing into rows (pieces of equal length in the drawn order), and
// permutes the rows. How many rows an epoch has depends on the lengths alone, so row i belongs to epoch i /
// rows_per_epoch().
//
// The draws are pure functions of (seed, epoch, index); nothing but the row number needs to be remembered to
// resume.
#ifndef STUDENT_TRAINING_ROW_STREAM_H_
#define STUDENT_TRAINING_ROW_STREAM_H_

#include <cstdint>
#include <span>
#include <vector>

#include "student/model/packed_batch.h"
#include "student/training/document.h"

namespace retort::student {

// Positions [begin, end) of a document: position i reads token i and predicts token i + 1.
struct RowPiece {
  uint32_t document = 0;
  uint32_t begin = 0, end = 0;
};
using Row = std::vector<RowPiece>;

class RowStream {
 public:
  // `documents` must not be empty and each must have a completion (asserted). Keeps their lengths only.
  RowStream(const std::vector<Document>& documents, int64_t sequence_length, uint64_t seed);

  int64_t rows_per_epoch() const { return rows_per_epoch_; }
  int64_t split_documents() const { return split_documents_; }  // longer than a row
  // Row `index` of the stream, from 0. The reference is valid until the next call.
  const Row& At(int64_t index);

 private:
  std::vector<Row> PackEpoch(int64_t epoch) const;

  int64_t sequence_length_;
  uint64_t seed_;
  std::vector<RowPiece> pieces_;
  int64_t split_documents_ = 0;
  int64_t rows_per_epoch_ = 0;
  int64_t epoch_ = -1;  // that rows_ holds
  std::vector<Row> rows_;
};

// Lays the pieces end to end as one micro-batch: weight 1 where the target is a completion token, 0
// elsewhere; the teacher's distribution beside it when `with_teacher`.
PackedBatch MakeBatch(const std::vector<Document>& documents, std::span<const RowPiece> pieces,
                      bool with_teacher);

// A pseudo-random number that depends on its arguments only (SplitMix64 finaliser over them).
uint64_t CounterRandom(uint64_t seed, uint64_t stream, uint64_t epoch, uint64_t index);

}  // namespace retort::student

#endif  // STUDENT_TRAINING_ROW_STREAM_H_
