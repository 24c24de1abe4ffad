// Kernels for the rig's own tests, started like the product's: launchers with raw device pointers and a stream.
#ifndef TESTS_CUDA_ON_CPU_TEST_KERNELS_H_
#define TESTS_CUDA_ON_CPU_TEST_KERNELS_H_

#include "student/device/device_types.h"

namespace retort::cuda_on_cpu {

using student::Stream;

void FillIndex(int* out, int size, Stream stream);                       // out[i] = i
void ReverseInBlocks(const int* in, int* out, int size, Stream stream);  // blocks of 96, static shared memory
void SumRows(const float* in, float* out, int rows, int columns, Stream stream);  // dynamic shared memory, shuffles
void CountBits(const int* in, unsigned* total, int size, Stream stream);  // ballot, integer atomics
void ManyBarriers(int* out, int blocks, int threads, int barriers, Stream stream);

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_TEST_KERNELS_H_
