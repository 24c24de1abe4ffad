#include "student/ops/embedding.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "student/ops/row_kernels.h"

namespace retort::student {

void Embed(const Compute& compute, const float* table, std::span<const std::int32_t> tokens, int n,
           float* x) {
  ForEachBlock(compute, static_cast<std::int64_t>(tokens.size()), 256,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t t = begin; t < end; ++t)
                   std::copy_n(table + static_cast<std::int64_t>(tokens[t]) * n, n, x + t * n);
               });
}

void EmbedBackward(const Compute& compute, std::span<const std::int32_t> tokens, const float* dx, int n,
                   float* d_table) {
  const RowKernels& kernels = RowKernelsOf(compute.isa);
  std::vector<std::int32_t> order(tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return tokens[a] < tokens[b]; });
  std::vector<std::size_t> starts;  // of each run of equal tokens
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || tokens[order[i]] != tokens[order[i - 1]]) starts.push_back(i);
  }
  starts.push_back(order.size());
  ForEachBlock(compute, static_cast<std::int64_t>(starts.size()) - 1, 32,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::size_t i = starts[begin]; i < starts[end]; ++i) {
                   kernels.add(dx + static_cast<std::int64_t>(order[i]) * n, n,
                               d_table + static_cast<std::int64_t>(tokens[order[i]]) * n);
                 }
               });
}

}  // namespace retort::student
