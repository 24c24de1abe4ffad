// Sums and other reductions of the ranks' contributions, in rank order.
#ifndef TESTS_CUDA_ON_CPU_REDUCTION_H_
#define TESTS_CUDA_ON_CPU_REDUCTION_H_

#include <cstddef>

#include "nccl.h"

namespace retort::cuda_on_cpu {

std::size_t BytesOf(ncclDataType_t type);  // 0 for one that is not here

// target[i] = op over parts[0][i], parts[1][i], … bf16 is combined in fp32 and rounded once.
void Reduce(ncclDataType_t type, ncclRedOp_t op, const char* const* parts, int ranks, char* target,
            std::size_t count);

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_REDUCTION_H_
