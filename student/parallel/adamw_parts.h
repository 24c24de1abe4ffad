// AdamW over parts of a storage, on the CPU: what one rank of several steps. The same arithmetic as
// student/optimizer/adamw.h, value for value; the norm is summed over parts instead of over tensors.
#ifndef STUDENT_PARALLEL_ADAMW_PARTS_H_
#define STUDENT_PARALLEL_ADAMW_PARTS_H_

#include <cstdint>
#include <span>

#include "student/model/parameters.h"
#include "student/optimizer/adamw.h"
#include "student/parallel/part.h"
#include "student/tensor/isa.h"
#include "student/threads/thread_pool.h"

namespace retort::student {

// Sum of the squares of the trained values in `parts`, in fp64: leaves of at most 4,096 values, added in
// order. The same bits for any number of threads.
double SquaredNorm(const ParameterLayout& layout, const float* gradients, std::span<const Part> parts,
                   ThreadPool& pool);

// Steps the trained values in `parts` as StepAdamW does. gradients and parameters point at whole storages;
// moments are packed: those of a part begin where those of the part before end.
void StepAdamW(const AdamWOptions& options, const ParameterLayout& layout, std::span<const Part> parts,
               const float* gradients, double norm, double learning_rate, std::int64_t steps_taken,
               float* parameters, float* packed_first_moment, float* packed_second_moment, ThreadPool& pool,
               Isa isa);

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_ADAMW_PARTS_H_
