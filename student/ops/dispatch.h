// Sorts tokens by expert and brings results back: dropless, without padding, without atomics. A slot is one
// (token, expert) pair; slots are ordered by expert, then by token, whatever the number of threads.
#ifndef STUDENT_OPS_DISPATCH_H_
#define STUDENT_OPS_DISPATCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "student/device/device_types.h"
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

// The same with token_slots [tokens, per_token] of a Dispatch alone.
void GatherSum(const Compute& compute, const std::int32_t* token_slots, const float* slots,
               std::int64_t tokens, int per_token, int n, float* y);

// A Dispatch in device memory: the same four arrays, owned by the caller.
struct DeviceDispatch {
  std::int32_t* offsets;      // [E+1]
  std::int32_t* slot_tokens;  // [T*K]
  float* slot_weights;        // [T*K]
  std::int32_t* token_slots;  // [T, K]
};

// Bytes of working memory.
std::size_t SortByExpertWorkspace(std::int64_t tokens, int per_token, int experts);

// The device twin (student/ops/README.md): the same order, slot for slot. tokens * per_token < 2^31, experts
// <= 1024. If loads [E] is not null the number of slots of each expert is added to it: pass null where a sort
// is only repeated to recompute activations.
void SortByExpert(Stream stream, const std::int32_t* chosen, const float* weights, std::int64_t tokens,
                  int per_token, int experts, const DeviceDispatch& dispatch, std::int64_t* loads,
                  void* workspace);

// y[i] = x[rows[i]], rows of n values, i < count; x and y are dense. With dispatch.slot_tokens: tokens to
// slots, of activations and of gradients. From and To: float or Bf16.
template <typename From, typename To>
void GatherRows(Stream stream, const From* x, const std::int32_t* rows, std::int64_t count, int n, To* y);

// y[rows[i]] = x[i]; rows are distinct. Other rows of y stay.
template <typename From, typename To>
void ScatterRows(Stream stream, const From* x, const std::int32_t* rows, std::int64_t count, int n, To* y);

// y[t] += sum over k, in order, of slots[token_slots[t, k]]: fp32 sums of T, float or Bf16. The backward pass
// of GatherRows with slot_tokens as well as the way back from the experts.
template <typename T>
void GatherSum(Stream stream, const std::int32_t* token_slots, const T* slots, std::int64_t tokens,
               int per_token, int n, float* y);

// y[i] = values[index[i]]: with token_slots, from slot order to token order, as routing weights' gradients
// need.
void GatherValues(Stream stream, const float* values, const std::int32_t* index, std::int64_t count,
                  float* y);

}  // namespace retort::student

#endif  // STUDENT_OPS_DISPATCH_H_
