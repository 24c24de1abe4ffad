#include "student/training/row_stream.h"

#include <algorithm>
#include <cassert>
#include <set>
#include <utility>

namespace retort::student {
namespace {

enum Stream : uint64_t { kPieceOrder = 1, kRowOrder = 2 };

uint64_t Mix(uint64_t x) {  // SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Fisher-Yates. The remainder is biased by less than count / 2^64.
template <typename T>
void Permute(uint64_t seed, Stream stream, uint64_t epoch, std::vector<T>& items) {
  for (size_t i = items.size(); i > 1; --i) {
    std::swap(items[i - 1], items[CounterRandom(seed, stream, epoch, i) % i]);
  }
}

}  // namespace

uint64_t CounterRandom(uint64_t seed, uint64_t stream, uint64_t epoch, uint64_t index) {
  return Mix(Mix(Mix(Mix(seed) ^ stream) ^ epoch) ^ index);
}

RowStream::RowStream(const std::vector<Document>& documents, int64_t sequence_length, uint64_t seed)
    : sequence_length_(sequence_length), seed_(seed) {
  assert(!documents.empty() && sequence_length > 0);
  const auto row = static_cast<uint32_t>(sequence_length);
  for (uint32_t d = 0; d < documents.size(); ++d) {
    const Document& document = documents[d];
    assert(document.completion_begin >= 1 && document.completion_begin < document.tokens.size());
    const auto positions = static_cast<uint32_t>(document.tokens.size() - 1);
    const uint32_t first_valid = document.completion_begin - 1;
    if (positions > row) ++split_documents_;
    for (uint32_t begin = 0; begin < positions; begin += row) {
      const uint32_t end = std::min(begin + row, positions);
      if (end > first_valid) pieces_.push_back({d, begin, end});
    }
  }
  rows_ = PackEpoch(0);
  epoch_ = 0;
  rows_per_epoch_ = static_cast<int64_t>(rows_.size());
}

std::vector<Row> RowStream::PackEpoch(int64_t epoch) const {
  std::vector<RowPiece> pieces = pieces_;
  Permute(seed_, kPieceOrder, static_cast<uint64_t>(epoch), pieces);
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const RowPiece& a, const RowPiece& b) { return a.end - a.begin > b.end - b.begin; });
  std::vector<Row> rows;
  std::set<std::pair<int64_t, size_t>> room;  // free positions and number of every row that is not full
  for (const RowPiece& piece : pieces) {
    const int64_t length = piece.end - piece.begin;
    auto best = room.lower_bound({length, 0});  // the fullest row that it still fits in, the first of equals
    size_t row = rows.size();
    int64_t left = sequence_length_ - length;
    if (best != room.end()) {
      row = best->second;
      left = best->first - length;
      room.erase(best);
    } else {
      rows.emplace_back();
    }
    rows[row].push_back(piece);
    if (left > 0) room.emplace(left, row);
  }
  Permute(seed_, kRowOrder, static_cast<uint64_t>(epoch), rows);
  return rows;
}

const Row& RowStream::At(int64_t index) {
  assert(index >= 0);
  const int64_t epoch = index / rows_per_epoch_;
  if (epoch != epoch_) {
    rows_ = PackEpoch(epoch);
    epoch_ = epoch;
    assert(static_cast<int64_t>(rows_.size()) == rows_per_epoch_);  // best-fit-decreasing sees lengths only
  }
  return rows_[static_cast<size_t>(index % rows_per_epoch_)];
}

PackedBatch MakeBatch(const std::vector<Document>& documents, std::span<const RowPiece> pieces,
                      bool with_teacher) {
  PackedBatch batch;
  size_t size = 0;
  uint32_t k = 0;
  for (const RowPiece& piece : pieces) {
    size += piece.end - piece.begin;
    if (with_teacher) k = std::max(k, documents[piece.document].k);
  }
  batch.teacher_k = static_cast<int>(k);
  batch.tokens.reserve(size);
  batch.positions.reserve(size);
  batch.targets.reserve(size);
  batch.weights.reserve(size);
  if (k > 0) {
    batch.teacher_counts.assign(size, 0);
    batch.teacher_ids.assign(size * k, 0);
    batch.teacher_logprobs.assign(size * k, 0.0f);
    batch.teacher_tail_logprobs.assign(size, 0.0f);
  }
  batch.document_starts.push_back(0);
  for (const RowPiece& piece : pieces) {
    const Document& document = documents[piece.document];
    for (uint32_t i = piece.begin; i < piece.end; ++i) {
      const size_t t = batch.tokens.size();
      const bool valid = i + 1 >= document.completion_begin;
      batch.tokens.push_back(static_cast<int32_t>(document.tokens[i]));
      batch.positions.push_back(static_cast<int32_t>(i - piece.begin));
      batch.targets.push_back(static_cast<int32_t>(document.tokens[i + 1]));
      batch.weights.push_back(valid ? 1.0f : 0.0f);
      if (!valid || k == 0 || document.k == 0) continue;
      const size_t row = i + 1 - document.completion_begin;
      batch.teacher_counts[t] = static_cast<int32_t>(document.k);
      std::copy_n(document.top_ids.begin() + row * document.k, document.k, batch.teacher_ids.begin() + t * k);
      std::copy_n(document.top_logprobs.begin() + row * document.k, document.k,
                  batch.teacher_logprobs.begin() + t * k);
      batch.teacher_tail_logprobs[t] = document.tail_logprobs[row];
    }
    batch.document_starts.push_back(static_cast<int32_t>(batch.tokens.size()));
  }
  return batch;
}

}  // namespace retort::student
