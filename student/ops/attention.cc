#include "student/ops/attention.h"

#include <algorithm>
#include <cassert>

#include "student/ops/matmul.h"
#include "student/ops/row_kernels.h"

namespace retort::student {
namespace {

constexpr std::int64_t kQueryBlock = 64;

// Copies a head's keys, k_nope beside the shared rope key, into rows of shape.query() floats.
void CollectKeys(const AttentionShape& shape, const float* kv, const float* rope_key, std::int64_t keys,
                 float* out) {
  const std::int64_t kv_stride = shape.heads * shape.key_value();
  for (std::int64_t j = 0; j < keys; ++j) {
    out = std::copy_n(kv + j * kv_stride, shape.nope, out);
    out = std::copy_n(rope_key + j * shape.rope, shape.rope, out);
  }
}

// One block of queries of one head: scores against all keys that its last query sees, softmax, sum of values.
void AttendBlock(Isa isa, const AttentionShape& shape, const AttentionSpan& span,
                 const AttentionTensors& tensors, int head, std::int64_t first, std::int64_t count,
                 Buffer* memory, Buffer* scratch) {
  const RowKernels& kernels = RowKernelsOf(isa);
  const std::int64_t q_stride = shape.heads * shape.query(), kv_stride = shape.heads * shape.key_value();
  const std::int64_t keys = span.keys - span.queries + first + count;
  float* const key_rows = memory->Reserve(keys * shape.query() + count * keys);
  float* const scores = key_rows + keys * shape.query();
  const float* const kv = tensors.kv + span.first_key * kv_stride + head * shape.key_value();
  CollectKeys(shape, kv, tensors.rope_key + span.first_key * shape.rope, keys, key_rows);
  const std::int64_t query = span.first_query + first;
  MultiplyHere(isa,
               LinearForward({tensors.q + query * q_stride + head * shape.query(), q_stride},
                             {key_rows, shape.query()}, scores, keys, static_cast<int>(count), shape.query(),
                             static_cast<int>(keys)),
               scratch);
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape.query()));
  for (std::int64_t i = 0; i < count; ++i) {
    float* const row = scores + i * keys;
    const int seen = static_cast<int>(keys - count + i + 1);
    kernels.scale(scale, seen, row);
    const float best = kernels.maximum(row, seen);
    const float sum = kernels.exp_sum(row, seen, best);
    kernels.scale(1.0f / sum, seen, row);
    std::fill(row + seen, row + keys, 0.0f);
    if (tensors.log_sum != nullptr)
      tensors.log_sum[head * tensors.total_queries + query + i] = best + std::log(sum);
  }
  const std::int64_t out_stride = shape.heads * shape.value;
  MultiplyHere(isa,
               {.a = {scores, keys},
                .b = {kv + shape.nope, kv_stride},
                .c = tensors.out + query * out_stride + head * shape.value,
                .c_stride = out_stride,
                .m = static_cast<int>(count),
                .n = shape.value,
                .k = static_cast<int>(keys)},
               scratch);
}

// One head of one span, query blocks in order so that sums over queries are.
void AttendBackward(Isa isa, const AttentionShape& shape, const AttentionSpan& span,
                    const AttentionTensors& tensors, const AttentionGradients& gradients, int head,
                    Buffer* memory, Buffer* scratch) {
  const RowKernels& kernels = RowKernelsOf(isa);
  const int width = shape.query();
  const std::int64_t q_stride = shape.heads * width, kv_stride = shape.heads * shape.key_value();
  const std::int64_t out_stride = shape.heads * shape.value;
  float* const key_rows = memory->Reserve(2 * span.keys * width + 2 * kQueryBlock * span.keys);
  float* const d_key_rows = key_rows + span.keys * width;
  float* const scores = d_key_rows + span.keys * width;
  float* const d_scores = scores + kQueryBlock * span.keys;
  const float* const kv = tensors.kv + span.first_key * kv_stride + head * shape.key_value();
  float* const d_kv = gradients.d_kv + span.first_key * kv_stride + head * shape.key_value();
  CollectKeys(shape, kv, tensors.rope_key + span.first_key * shape.rope, span.keys, key_rows);
  std::fill_n(d_key_rows, span.keys * width, 0.0f);
  for (std::int64_t j = 0; j < span.keys; ++j)
    std::fill_n(d_kv + j * kv_stride + shape.nope, shape.value, 0.0f);
  const float scale = 1.0f / std::sqrt(static_cast<float>(width));

  for (std::int64_t first = 0; first < span.queries; first += kQueryBlock) {
    const int count = static_cast<int>(std::min(kQueryBlock, span.queries - first));
    const int keys = static_cast<int>(first) + count;
    const std::int64_t query = span.first_query + first;
    const MatrixView q = {tensors.q + query * q_stride + head * width, q_stride};
    const MatrixView d_out = {gradients.d_out + query * out_stride + head * shape.value, out_stride};
    const float* const out = tensors.out + query * out_stride + head * shape.value;
    MultiplyHere(isa, LinearForward(q, {key_rows, width}, scores, keys, count, width, keys), scratch);
    MultiplyHere(isa,
                 LinearForward(d_out, {kv + shape.nope, kv_stride}, d_scores, keys, count, shape.value, keys),
                 scratch);
    for (int i = 0; i < count; ++i) {
      float* const row = scores + static_cast<std::int64_t>(i) * keys;
      float* const d_row = d_scores + static_cast<std::int64_t>(i) * keys;
      const int seen = keys - count + i + 1;
      const float delta = kernels.dot(d_out.row(i), out + i * out_stride, shape.value);
      kernels.attention_backward(row, d_row, scale, tensors.log_sum[head * tensors.total_queries + query + i],
                                 delta, seen);
      std::fill(row + seen, row + keys, 0.0f);
      std::fill(d_row + seen, d_row + keys, 0.0f);
    }
    MultiplyHere(isa,
                 LinearBackwardInput({d_scores, keys}, {key_rows, width},
                                     gradients.d_q + query * q_stride + head * width, q_stride, count, width,
                                     keys, false),
                 scratch);
    MultiplyHere(isa, LinearBackwardWeight({d_scores, keys}, q, d_key_rows, width, count, width, keys),
                 scratch);
    MultiplyHere(
        isa,
        LinearBackwardWeight({scores, keys}, d_out, d_kv + shape.nope, kv_stride, count, shape.value, keys),
        scratch);
  }
  float* const share =
      gradients.rope_key_shares + (head * tensors.total_queries + span.first_key) * shape.rope;
  for (std::int64_t j = 0; j < span.keys; ++j) {
    std::copy_n(d_key_rows + j * width, shape.nope, d_kv + j * kv_stride);
    std::copy_n(d_key_rows + j * width + shape.nope, shape.rope, share + j * shape.rope);
  }
}

}  // namespace

void Attention(const Compute& compute, const AttentionShape& shape, std::span<const AttentionSpan> spans,
               const AttentionTensors& tensors) {
  struct Task {
    int span, head;
    std::int64_t first;
  };
  std::vector<Task> tasks;
  for (std::size_t s = 0; s < spans.size(); ++s) {
    assert(spans[s].queries <= spans[s].keys);
    for (int head = 0; head < shape.heads; ++head) {
      for (std::int64_t first = 0; first < spans[s].queries; first += kQueryBlock) {
        tasks.push_back({static_cast<int>(s), head, first});
      }
    }
  }
  compute.pool->Run(static_cast<std::int64_t>(tasks.size()), [&](std::int64_t t, int worker) {
    const auto [s, head, first] = tasks[t];
    const AttentionSpan& span = spans[s];
    if (compute.isa != Isa::kPlain) {
      AttendBlock(compute.isa, shape, span, tensors, head, first, std::min(kQueryBlock, span.queries - first),
                  &compute.scratch->task[worker], &compute.scratch->worker[worker]);
    } else if (first == 0) {
      plain::AttentionHead(
          shape, span.queries, span.keys,
          tensors.q + span.first_query * shape.heads * shape.query() + head * shape.query(),
          tensors.kv + span.first_key * shape.heads * shape.key_value() + head * shape.key_value(),
          tensors.rope_key + span.first_key * shape.rope,
          tensors.out + span.first_query * shape.heads * shape.value + head * shape.value,
          tensors.log_sum == nullptr ? nullptr
                                     : tensors.log_sum + head * tensors.total_queries + span.first_query);
    }
  });
}

void AttentionBackward(const Compute& compute, const AttentionShape& shape,
                       std::span<const AttentionSpan> spans, const AttentionTensors& tensors,
                       const AttentionGradients& gradients) {
  compute.pool->Run(static_cast<std::int64_t>(spans.size()) * shape.heads, [&](std::int64_t t, int worker) {
    const AttentionSpan& span = spans[t / shape.heads];
    const int head = static_cast<int>(t % shape.heads);
    assert(span.queries == span.keys && span.first_query == span.first_key);
    if (compute.isa != Isa::kPlain) {
      AttendBackward(compute.isa, shape, span, tensors, gradients, head, &compute.scratch->task[worker],
                     &compute.scratch->worker[worker]);
    } else {
      const std::int64_t q = span.first_query * shape.heads * shape.query() + head * shape.query();
      const std::int64_t kv = span.first_key * shape.heads * shape.key_value() + head * shape.key_value();
      const std::int64_t o = span.first_query * shape.heads * shape.value + head * shape.value;
      plain::AttentionHeadBackward(
          shape, span.queries, tensors.q + q, tensors.kv + kv, tensors.rope_key + span.first_key * shape.rope,
          tensors.out + o, tensors.log_sum + head * tensors.total_queries + span.first_query,
          gradients.d_out + o, gradients.d_q + q, gradients.d_kv + kv,
          gradients.rope_key_shares + (head * tensors.total_queries + span.first_key) * shape.rope);
    }
  });
  ForEachBlock(compute, tensors.total_queries, 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * shape.rope; i < end * shape.rope; ++i) {
      float sum = 0;
      for (int head = 0; head < shape.heads; ++head) {
        sum += gradients.rope_key_shares[head * tensors.total_queries * shape.rope + i];
      }
      gradients.d_rope_key[i] = sum;
    }
  });
}

}  // namespace retort::student
