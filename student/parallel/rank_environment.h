// Which rank this process is, from the variables that a launcher sets.
//
//   mpirun (Open MPI)        OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_LOCAL_RANK
//   by hand, or a script     RETORT_RANK, RETORT_WORLD_SIZE, optionally RETORT_LOCAL_RANK
//   Kubernetes Indexed Job   JOB_COMPLETION_INDEX (set by Kubernetes), RETORT_WORLD_SIZE (the completions,
//                            written into the Job), optionally RETORT_LOCAL_RANK
//
// None of them set: one process, rank 0 of 1.
#ifndef STUDENT_PARALLEL_RANK_ENVIRONMENT_H_
#define STUDENT_PARALLEL_RANK_ENVIRONMENT_H_

#include <functional>
#include <string>

namespace retort::student {

struct RankEnvironment {
  int rank = 0;
  int world = 1;
  int local_rank = 0;   // among the processes of this machine: the default device; 0 when not said
  std::string source;   // the variables that said so, for people; empty when there were none
  bool mpirun = false;  // Open MPI's
};

// As getenv: null when a variable is not set.
using EnvironmentReader = std::function<const char*(const char* name)>;

// The empty string and *result, or one sentence that names the variables, their values and what is wanted: a
// rank without a size or a size without a rank, a number that is malformed or out of range (rank in
// [0, size), size in [1, 256]), or two launchers' variables that disagree. A JOB_COMPLETION_INDEX without
// RETORT_WORLD_SIZE is refused too, since four trainers that each think they are alone would all train.
std::string ReadRankEnvironment(const EnvironmentReader& environment, RankEnvironment* result);

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_RANK_ENVIRONMENT_H_
