// How a process says that it lives: a lock on the byte of its rank in a file that all ranks have open. The
// kernel lets go of it when the process ends, however it ends (fcntl(2), open file description locks).
#ifndef STUDENT_PARALLEL_RANK_LOCKS_H_
#define STUDENT_PARALLEL_RANK_LOCKS_H_

#include <string>

namespace retort::student {

// Takes the lock of `rank` until `file` is closed; false when another process has it.
bool LockRank(int file, int rank);
// Whether another process has it.
bool RankIsLocked(int file, int rank);

// Whether a name of POSIX shared memory is "/" and 1 to 200 letters, digits, '-', '_' or '.'.
bool IsSharedMemoryName(const std::string& name);

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_RANK_LOCKS_H_
