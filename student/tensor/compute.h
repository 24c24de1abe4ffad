// Where an operator runs: which threads, which instruction set. Passed to every operator of student/ops.
#ifndef STUDENT_TENSOR_COMPUTE_H_
#define STUDENT_TENSOR_COMPUTE_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "student/tensor/buffer.h"
#include "student/tensor/isa.h"
#include "student/threads/thread_pool.h"

namespace retort::student {

// Working memory of operators, kept from call to call.
struct Scratch {
  explicit Scratch(int workers) : worker(workers), task(workers) {}
  Buffer packed;               // packed operands of a matrix product, read by all threads
  std::vector<Buffer> worker;  // per thread of the pool: packed operands of the tile it works on
  std::vector<Buffer> task;    // per thread of the pool: what an operator's task keeps meanwhile
};

// Nothing is owned and nothing is null; one operator at a time.
struct Compute {
  ThreadPool* pool;
  Scratch* scratch;
  Isa isa;
};

// Calls rows(begin, end) for consecutive blocks of `block` rows that cover [0, count). The cut depends on
// count and block alone.
template <typename Function>
void ForEachBlock(const Compute& compute, std::int64_t count, std::int64_t block, const Function& rows) {
  compute.pool->Run((count + block - 1) / block,
                    [&](std::int64_t task, int) { rows(task * block, std::min(count, (task + 1) * block)); });
}

}  // namespace retort::student

#endif  // STUDENT_TENSOR_COMPUTE_H_
