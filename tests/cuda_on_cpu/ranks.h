// Runs one function in several processes, one for each rank, for tests of what ranks do together.
#ifndef TESTS_CUDA_ON_CPU_RANKS_H_
#define TESTS_CUDA_ON_CPU_RANKS_H_

#include <functional>
#include <vector>

namespace retort::cuda_on_cpu {

// A rank that fails says why on standard error and returns false. Returns the ranks that failed, were killed,
// or were not done after `seconds` (those are killed).
std::vector<int> RunRanks(int ranks, int seconds, const std::function<bool(int rank)>& body);

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_RANKS_H_
