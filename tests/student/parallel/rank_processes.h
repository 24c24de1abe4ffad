// Starts the ranks of a run as processes of their own, and says how they ended.
#ifndef TESTS_STUDENT_PARALLEL_RANK_PROCESSES_H_
#define TESTS_STUDENT_PARALLEL_RANK_PROCESSES_H_

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace retort::student {

struct RankEnd {
  int exit_code = -1;  // -1: a signal ended it
  int signal = 0;
  std::string output;  // what it wrote to standard output and standard error
};

class RankProcesses {
 public:
  // Starts one process per rank in `ranks` with RETORT_RANK and RETORT_WORLD_SIZE in its environment and no
  // other launcher's variables.
  RankProcesses(const std::string& program, const std::vector<std::string>& arguments, int world,
                const std::vector<int>& ranks);
  // All of them, 0 .. world - 1.
  RankProcesses(const std::string& program, const std::vector<std::string>& arguments, int world);
  ~RankProcesses();  // kills what still runs

  void Kill(int index, int signal);
  // Reads what process `index` writes until a line that contains `text`; false when it ends without one.
  bool AwaitOutput(int index, const std::string& text);
  // Ends of all, in the order of `ranks`. What runs longer than `limit` is killed, which the end then shows.
  std::vector<RankEnd> Wait(std::chrono::milliseconds limit = std::chrono::seconds(60));

 private:
  struct Child {
    pid_t pid = -1;
    int output = -1;
    RankEnd end;
    bool done = false;
  };
  bool ReadSome(Child& child, int milliseconds);

  std::vector<Child> children_;
};

// A name for shared memory that no other test has.
std::string FreshName();

}  // namespace retort::student

#endif  // TESTS_STUDENT_PARALLEL_RANK_PROCESSES_H_
