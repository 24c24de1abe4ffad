// Sorts tokens by expert and brings results back: dropless, without padding, without atomics. A slot is one
// (token, expert) pair; slots are ordered by expert, then by token, whatever the number of threads.
#ifndef STUDENT_OPS_DISPATCH_H_
#define STUDENT_OPS_DISPATCH_H_

#include <cstdint>
#include <vector>

#include "student/tensor/compute.h"

namespace retort::student {

struct Dispatch {
  std::vector<std::int32_t> offsets;      // [E+1]: expert e has slots offsets[e] .. offsets[e+1]
  std::vector<std::int32_t> slot_tokens;  // [T*K]
  std::vector<float> slot_weights;        // [T*K]: the routing weight
  std::vector<std::int32_t> token_slots;  // [T, K]: slot of the token's k-th expert; experts rise with k

  int slots(int expert) const { return offsets[expert + 1] - offsets[expert]; }
};

// Stable counting sort of chosen [tokens, per_token] (values in [0, experts)), with their weights.
void SortByExpert(const std::int32_t* chosen, const float* weights, std::int64_t tokens, int per_token,
                  int experts, Dispatch* dispatch);

// y[t] += sum over k, in order, of slots[token_slots[t, k]]; rows of n floats. A gather, so no two threads
// write one row.
void GatherSum(const Compute& compute, const Dispatch& dispatch, const float* slots, std::int64_t tokens,
               int per_token, int n, float* y);

}  // namespace retort::student

#endif  // STUDENT_OPS_DISPATCH_H_
