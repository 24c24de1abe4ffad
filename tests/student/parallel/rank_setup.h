// What a rank of a test computes on and how it meets the others: rank_on_cpu.cc (this processor, shared
// memory) or rank_on_device.cc (a CUDA device and NCCL, here those of tests/cuda_on_cpu). One main function
// serves both.
#ifndef TESTS_STUDENT_PARALLEL_RANK_SETUP_H_
#define TESTS_STUDENT_PARALLEL_RANK_SETUP_H_

#include <memory>
#include <string>

#include "student/device/backend.h"
#include "student/parallel/collectives.h"
#include "student/threads/thread_pool.h"

namespace retort::student {

// Fewer where kernels run thread by thread: positions of a row of learner_rank, steps of trainer_rank and
// from checkpoint to checkpoint.
extern const int kRowLengthOfRank, kStepsOfRank, kStepsToCheckpoint;

// Ends the process when there is none.
std::unique_ptr<Backend> OpenRankBackend(ThreadPool& pool);

// name: FreshName() of the launch. card: what must be the same on all ranks. Null with *problem.
std::unique_ptr<World> JoinRanksOfTest(const std::string& name, const RankPlace& place,
                                       const std::string& card, std::string* problem);

}  // namespace retort::student

#endif  // TESTS_STUDENT_PARALLEL_RANK_SETUP_H_
