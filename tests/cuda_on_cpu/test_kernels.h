// Kernels for the rig's own tests, started like the product's: launchers with raw device pointers and a
// stream. Those named Faulty… have the fault that their comment names, on purpose.
#ifndef TESTS_CUDA_ON_CPU_TEST_KERNELS_H_
#define TESTS_CUDA_ON_CPU_TEST_KERNELS_H_

#include "student/device/device_types.h"

namespace retort::cuda_on_cpu {

using student::Stream;

void FillIndex(int* out, int size, Stream stream);                             // out[i] = i
void AddOne(const int* in, int* out, int size, Stream stream);                 // out[i] = in[i] + 1
void AddNumber(const int* in, int* out, int size, int number, Stream stream);  // out[i] = in[i] + number
// out[i] = in[i] + number.small + number.large. The members do not lie side by side.
struct TwoNumbers {
  signed char small;
  long long large;
};
void AddNumbers(const int* in, int* out, int size, const TwoNumbers& number, Stream stream);
void ReverseInBlocks(const int* in, int* out, int size, Stream stream);  // blocks of 96, static shared memory
void SumRows(const float* in, float* out, int rows, int columns,
             Stream stream);                                              // dynamic shared memory, shuffles
void CountBits(const int* in, unsigned* total, int size, Stream stream);  // ballot, integer atomics
void ManyBarriers(int* out, int blocks, int threads, int barriers, Stream stream);
// results[12][32]: what each warp operation gives to each lane; see the kernel.
void WarpOperations(unsigned* results, Stream stream);
void Vote(int* out, int threads, Stream stream);  // out[0..2]: __syncthreads_count, _or, _and of odd threads
void ShuffleWhereSomeLeft(int* out, int threads,
                          Stream stream);  // lanes from 20 on return before a full-mask shuffle

void FaultyReverseWithoutBarrier(const int* in, int* out, int size, Stream stream);
void FaultyIndexBeyondEnd(int* out, int size, Stream stream);         // i <= size
void FaultyDynamicSharedMemory(float* out, int size, Stream stream);  // one element more than the launch said
void FaultyBarrierForSome(int* out, int threads,
                          Stream stream);  // a barrier in a branch that half of the threads take
void FaultyBarriersApart(int* out, int threads, Stream stream);  // the two branches have a barrier each
void FaultyShuffleForSome(int* out, Stream stream);  // a full-mask shuffle that half of the lanes reach
void FaultyMask(int* out, Stream stream);            // a mask that does not name the caller
void CallsTrap(Stream stream);

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_TEST_KERNELS_H_
