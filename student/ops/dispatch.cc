#include "student/ops/dispatch.h"

#include "student/ops/row_kernels.h"

namespace retort::student {

void SortByExpert(const std::int32_t* chosen, const float* weights, std::int64_t tokens, int per_token,
                  int experts, Dispatch* dispatch) {
  const std::int64_t slots = tokens * per_token;
  dispatch->offsets.assign(experts + 1, 0);
  dispatch->slot_tokens.resize(slots);
  dispatch->slot_weights.resize(slots);
  dispatch->token_slots.resize(slots);
  for (std::int64_t i = 0; i < slots; ++i) ++dispatch->offsets[chosen[i] + 1];
  for (int e = 0; e < experts; ++e) dispatch->offsets[e + 1] += dispatch->offsets[e];
  std::vector<std::int32_t> next(dispatch->offsets.begin(), dispatch->offsets.end() - 1);
  for (std::int64_t i = 0; i < slots; ++i) {
    const std::int32_t slot = next[chosen[i]]++;
    dispatch->slot_tokens[slot] = static_cast<std::int32_t>(i / per_token);
    dispatch->slot_weights[slot] = weights[i];
    dispatch->token_slots[i] = slot;
  }
}

void GatherSum(const Compute& compute, const Dispatch& dispatch, const float* slots, std::int64_t tokens,
               int per_token, int n, float* y) {
  GatherSum(compute, dispatch.token_slots.data(), slots, tokens, per_token, n, y);
}

void GatherSum(const Compute& compute, const std::int32_t* token_slots, const float* slots,
               std::int64_t tokens, int per_token, int n, float* y) {
  const RowKernels& kernels = RowKernelsOf(compute.isa);
  ForEachBlock(compute, tokens, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      for (int k = 0; k < per_token; ++k) {
        kernels.add(slots + static_cast<std::int64_t>(token_slots[t * per_token + k]) * n, n, y + t * n);
      }
    }
  });
}

}  // namespace retort::student
