#include "student/loss/head_fast.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "student/ops/matmul.h"
#include "student/ops/matmul_kernel.h"
#include "student/ops/row_kernels.h"

namespace retort::student {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::int64_t RoundUp(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// A logit that is treated apart: one of the teacher's stored tokens (slot >= 0), or the target (slot < 0).
struct Special {
  std::int32_t row, column, slot;
};

// One chunk of at most kHeadTokens positions. Four steps: logits tile by tile with the teacher's tokens taken
// out and the rest exponentiated; the loss of each token; gradients tile by tile; sum of the stripes.
class Chunk {
 public:
  Chunk(const Compute& compute, HeadMemory* memory, const HeadTensors& tensors, const PackedBatch& batch,
        std::span<const std::int32_t> rows, float ce_weight, double factor, bool want_argmax,
        HeadResult* results)
      : compute_(compute),
        tensors_(tensors),
        batch_(batch),
        rows_(rows),
        ce_weight_(ce_weight),
        factor_(factor),
        want_argmax_(want_argmax),
        results_(results),
        kernel_(*MatmulKernelOf(compute.isa)),
        row_kernels_(RowKernelsOf(compute.isa)),
        count_(static_cast<int>(rows.size())),
        tiles_((tensors.vocabulary + kHeadColumns - 1) / kHeadColumns) {
    const std::int64_t per_tile = static_cast<std::int64_t>(count_) * tiles_;
    const std::int64_t slots = static_cast<std::int64_t>(count_) * batch.teacher_k;
    const std::int64_t x_columns = RoundUp(tensors.hidden, kernel_.panel_columns);
    const bool backward = tensors.d_w != nullptr;
    if (backward) logits_ = memory->logits.Reserve(per_tile * kHeadColumns);
    packed_x_ = memory->packed.Reserve(RoundUp(static_cast<std::int64_t>(count_) * tensors.hidden, 16) +
                                       count_ * x_columns);
    packed_x_columns_ = packed_x_ + RoundUp(static_cast<std::int64_t>(count_) * tensors.hidden, 16);
    if (backward)
      stripes_ = memory->stripes.Reserve(static_cast<std::int64_t>(kHeadStripes) * count_ * tensors.hidden);
    float* next = memory->values.Reserve(4 * per_tile + 2 * slots + 2 * count_);
    const auto take = [&next](std::int64_t size) { return std::exchange(next, next + size); };
    tile_max_ = take(per_tile);
    tile_sum_ = take(per_tile);
    tile_best_ = take(per_tile);
    tile_best_column_ = take(per_tile);
    special_logits_ = take(slots);
    special_gradients_ = take(slots);
    target_logits_ = take(count_);
    target_gradients_ = take(count_);
    SortSpecials();
  }

  void Run() {
    PackX();
    compute_.pool->Run(
        tiles_, [this](std::int64_t tile, int worker) { ForwardTile(static_cast<int>(tile), worker); });
    ForEachBlock(compute_, count_, 8, [this](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) FinishToken(static_cast<int>(i));
    });
    if (tensors_.d_w == nullptr) return;
    compute_.pool->Run(kHeadStripes, [this](std::int64_t stripe, int worker) {
      BackwardStripe(static_cast<int>(stripe), worker);
    });
    ForEachBlock(compute_, count_, 16, [this](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) SumStripes(i);
    });
  }

 private:
  // Index of (token i, tile) in the per-tile arrays: tile-major, so that tasks write apart.
  std::int64_t At(int tile, std::int64_t i) const { return static_cast<std::int64_t>(tile) * count_ + i; }
  int Columns(int tile) const { return std::min(kHeadColumns, tensors_.vocabulary - tile * kHeadColumns); }

  // Special logits by tile, in order of token.
  void SortSpecials() {
    starts_.assign(tiles_ + 1, 0);
    const auto for_each = [this](const auto& body) {
      for (int i = 0; i < count_; ++i) {
        const TeacherRow teacher = TeacherAt(batch_, rows_[i]);
        for (int k = 0; k < teacher.count; ++k) body(i, teacher.ids[k], i * batch_.teacher_k + k);
        body(i, batch_.targets[rows_[i]], -1);
      }
    };
    for_each([this](int, std::int32_t id, int) { ++starts_[id / kHeadColumns + 1]; });
    for (int tile = 0; tile < tiles_; ++tile) starts_[tile + 1] += starts_[tile];
    specials_.resize(starts_[tiles_]);
    std::vector<int> next(starts_.begin(), starts_.end() - 1);
    for_each([&](int i, std::int32_t id, int slot) {
      specials_[next[id / kHeadColumns]++] = {i, id % kHeadColumns, slot};
    });
  }
  std::span<const Special> Specials(int tile) const {
    return {specials_.data() + starts_[tile], static_cast<std::size_t>(starts_[tile + 1] - starts_[tile])};
  }

  // x as rows of A for the logits, and as B for the gradient of w.
  void PackX() {
    const int hidden = tensors_.hidden;
    const MatrixView x = {tensors_.x, hidden, rows_.data()};
    for (int depth = 0; depth < hidden; depth += kMatmulDepth) {
      const int k = std::min(kMatmulDepth, hidden - depth);
      PackA(kernel_, x, false, 0, count_, depth, k, packed_x_ + static_cast<std::int64_t>(depth) * count_);
    }
    if (tensors_.d_w != nullptr) PackB(kernel_, x, false, 0, hidden, 0, count_, packed_x_columns_);
  }

  void ForwardTile(int tile, int worker) {
    const int columns = Columns(tile), hidden = tensors_.hidden;
    const MatrixView w = {tensors_.w + static_cast<std::int64_t>(tile) * kHeadColumns * hidden, hidden};
    float* const packed_w = compute_.scratch->worker[worker].Reserve(kHeadColumns * kMatmulDepth);
    float* const z =
        logits_ != nullptr
            ? logits_ + At(tile, 0) * kHeadColumns
            : compute_.scratch->task[worker].Reserve(static_cast<std::int64_t>(count_) * kHeadColumns);
    for (int depth = 0; depth < hidden; depth += kMatmulDepth) {
      const int k = std::min(kMatmulDepth, hidden - depth);
      PackB(kernel_, w, true, 0, columns, depth, k, packed_w);
      kernel_.multiply(packed_x_ + static_cast<std::int64_t>(depth) * count_, packed_w, count_, columns, k, z,
                       kHeadColumns, depth > 0);
    }
    if (want_argmax_) {
      for (int i = 0; i < count_; ++i) {
        const float* row = z + static_cast<std::int64_t>(i) * kHeadColumns;
        const float best = row_kernels_.maximum(row, columns);
        tile_best_[At(tile, i)] = best;
        tile_best_column_[At(tile, i)] = static_cast<float>(std::find(row, row + columns, best) - row);
      }
    }
    for (const Special& special : Specials(tile)) {
      const float value = z[static_cast<std::int64_t>(special.row) * kHeadColumns + special.column];
      (special.slot < 0 ? target_logits_[special.row] : special_logits_[special.slot]) = value;
    }
    for (const Special& special : Specials(tile)) {
      if (special.slot >= 0)
        z[static_cast<std::int64_t>(special.row) * kHeadColumns + special.column] = -kInfinity;
    }
    for (int i = 0; i < count_; ++i) {
      float* const row = z + static_cast<std::int64_t>(i) * kHeadColumns;
      const float best = row_kernels_.maximum(row, columns);
      tile_max_[At(tile, i)] = best;
      // A tile whose every token is stored by the teacher has nothing left.
      const bool empty = best == -kInfinity;
      tile_sum_[At(tile, i)] = row_kernels_.exp_sum(row, columns, empty ? 0.0f : best);
    }
  }

  void FinishToken(int i) {
    const std::int32_t t = rows_[i];
    const TeacherRow teacher = TeacherAt(batch_, t);
    const double a = teacher.count > 0 ? ce_weight_ : 1.0;
    const float* const stored = special_logits_ + static_cast<std::int64_t>(i) * batch_.teacher_k;
    double best = -kInfinity;  // of the logits that are not stored
    for (int tile = 0; tile < tiles_; ++tile) best = std::max<double>(best, tile_max_[At(tile, i)]);
    double sum = 0;
    for (int tile = 0; tile < tiles_; ++tile) {
      const double shift = tile_max_[At(tile, i)] - best;
      if (tile_sum_[At(tile, i)] != 0) sum += tile_sum_[At(tile, i)] * std::exp(shift);
    }
    const double tail_lse = sum == 0 ? -kInfinity : best + std::log(sum);
    double stored_best = tail_lse;
    for (int k = 0; k < teacher.count; ++k) stored_best = std::max<double>(stored_best, stored[k]);
    double total = std::exp(tail_lse - stored_best);
    for (int k = 0; k < teacher.count; ++k) total += std::exp(stored[k] - stored_best);
    const double lse = stored_best + std::log(total);
    const double p_tail = std::exp(tail_lse - lse);

    TokenLoss& loss = results_[i].loss;
    loss.cross_entropy = lse - target_logits_[i];
    const double weight = factor_ * batch_.weights[t];
    for (int k = 0; k < teacher.count; ++k) {
      const double q = std::exp(static_cast<double>(teacher.logprobs[k]));
      if (q > 0) loss.divergence += q * (teacher.logprobs[k] - (stored[k] - lse));
      special_gradients_[static_cast<std::int64_t>(i) * batch_.teacher_k + k] =
          static_cast<float>(weight * (std::exp(stored[k] - lse) - (1 - a) * q));
    }
    const double q_tail = teacher.count > 0 ? std::exp(static_cast<double>(teacher.tail_logprob)) : 0.0;
    if (q_tail > 0) loss.divergence += q_tail * (teacher.tail_logprob - (tail_lse - lse));
    target_gradients_[i] = static_cast<float>(weight * a);
    // From here tile_sum holds what a tile's exponentials are multiplied by.
    const double tail_factor = weight * (p_tail - (1 - a) * q_tail);
    for (int tile = 0; tile < tiles_; ++tile) {
      const bool empty = tile_sum_[At(tile, i)] == 0;
      tile_sum_[At(tile, i)] =
          empty ? 0.0f : static_cast<float>(tail_factor * std::exp(tile_max_[At(tile, i)] - tail_lse));
    }
    if (want_argmax_) {
      int winner = 0;
      for (int tile = 1; tile < tiles_; ++tile) {
        if (tile_best_[At(tile, i)] > tile_best_[At(winner, i)]) winner = tile;
      }
      results_[i].argmax = winner * kHeadColumns + static_cast<int>(tile_best_column_[At(winner, i)]);
    }
  }

  void BackwardStripe(int stripe, int worker) {
    const int hidden = tensors_.hidden;
    const int first = static_cast<int>(static_cast<std::int64_t>(tiles_) * stripe / kHeadStripes);
    const int last = static_cast<int>(static_cast<std::int64_t>(tiles_) * (stripe + 1) / kHeadStripes);
    float* const d_x = stripes_ + static_cast<std::int64_t>(stripe) * count_ * hidden;
    if (first == last) std::fill_n(d_x, static_cast<std::int64_t>(count_) * hidden, 0.0f);
    const std::int64_t packed_size = RoundUp(static_cast<std::int64_t>(count_) * kHeadColumns, 16);
    float* const packed_d = compute_.scratch->worker[worker].Reserve(
        packed_size + kHeadColumns * RoundUp(hidden, kernel_.panel_columns));
    float* const packed_w = packed_d + packed_size;
    for (int tile = first; tile < last; ++tile) {
      const int columns = Columns(tile);
      float* const d_z = logits_ + At(tile, 0) * kHeadColumns;
      for (int i = 0; i < count_; ++i) {
        row_kernels_.scale(tile_sum_[At(tile, i)], columns,
                           d_z + static_cast<std::int64_t>(i) * kHeadColumns);
      }
      for (const Special& special : Specials(tile)) {
        if (special.slot < 0) continue;
        d_z[static_cast<std::int64_t>(special.row) * kHeadColumns + special.column] =
            special_gradients_[special.slot];
      }
      for (const Special& special : Specials(tile)) {
        if (special.slot >= 0) continue;
        d_z[static_cast<std::int64_t>(special.row) * kHeadColumns + special.column] -=
            target_gradients_[special.row];
      }
      const MatrixView d = {d_z, kHeadColumns};
      const MatrixView w = {tensors_.w + static_cast<std::int64_t>(tile) * kHeadColumns * hidden, hidden};
      PackA(kernel_, d, false, 0, count_, 0, columns, packed_d);
      PackB(kernel_, w, false, 0, hidden, 0, columns, packed_w);
      kernel_.multiply(packed_d, packed_w, count_, hidden, columns, d_x, hidden, tile > first);
      PackA(kernel_, d, true, 0, columns, 0, count_, packed_d);
      kernel_.multiply(packed_d, packed_x_columns_, columns, hidden, count_,
                       tensors_.d_w + static_cast<std::int64_t>(tile) * kHeadColumns * hidden, hidden, true);
    }
  }

  void SumStripes(std::int64_t i) {
    const int hidden = tensors_.hidden;
    float* const out = tensors_.d_x + static_cast<std::int64_t>(rows_[i]) * hidden;
    std::copy_n(stripes_ + i * hidden, hidden, out);
    for (std::int64_t stripe = 1; stripe < kHeadStripes; ++stripe) {
      row_kernels_.add(stripes_ + (stripe * count_ + i) * hidden, hidden, out);
    }
  }

  const Compute& compute_;
  const HeadTensors& tensors_;
  const PackedBatch& batch_;
  const std::span<const std::int32_t> rows_;
  const double ce_weight_;
  const double factor_;
  const bool want_argmax_;
  HeadResult* const results_;
  const MatmulKernel& kernel_;
  const RowKernels& row_kernels_;
  const int count_;
  const int tiles_;
  float* logits_ = nullptr;  // [tiles, count, kHeadColumns]: logits, then exponentials, then gradients
  float* packed_x_ = nullptr;
  float* packed_x_columns_ = nullptr;
  float* stripes_ = nullptr;                                      // [kHeadStripes, count, hidden]
  float *tile_max_, *tile_sum_, *tile_best_, *tile_best_column_;  // [tiles, count]
  float *special_logits_, *special_gradients_;                    // [count, teacher_k]
  float *target_logits_, *target_gradients_;                      // [count]
  std::vector<int> starts_;                                       // [tiles + 1] into specials_
  std::vector<Special> specials_;
};

static_assert(kHeadTokens <= kMatmulDepth, "a chunk is one block of depth in the gradient of w");

}  // namespace

std::vector<HeadResult> HeadLossFast(const Compute& compute, HeadMemory* memory, const HeadTensors& tensors,
                                     const PackedBatch& batch, std::span<const std::int32_t> rows,
                                     float ce_weight, double factor, bool want_argmax) {
  std::vector<HeadResult> results(rows.size());
  for (std::size_t first = 0; first < rows.size(); first += kHeadTokens) {
    const std::size_t count = std::min<std::size_t>(kHeadTokens, rows.size() - first);
    Chunk(compute, memory, tensors, batch, rows.subspan(first, count), ce_weight, factor, want_argmax,
          &results[first])
        .Run();
  }
  return results;
}

}  // namespace retort::student
