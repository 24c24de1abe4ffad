// A child process whose standard output is read line by line: how retort-train is run on this machine.
//
// The child dies with its parent (PR_SET_PDEATHSIG), so that a killed server leaves no trainer behind that
// would write into a run folder beside its successor. That signal is tied to the thread that forks:
// RunProgram forks on, and does not return from, the calling thread while the child lives, whatever happens.
//
// The child inherits the environment, with what is added to it, and no descriptor but its three standard
// ones.
#ifndef SERVICES_JOBS_LAUNCHER_H_
#define SERVICES_JOBS_LAUNCHER_H_

#include <signal.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::jobs {

// Longest line that is passed on; the rest of a longer one is dropped.
inline constexpr size_t kOutputLineBytesMax = 64 * 1024;

struct ProgramRun {
  std::string program;                   // path
  std::vector<std::string> arguments;    // without the program itself
  std::vector<std::string> environment;  // NAME=value, added to what is inherited or in place of it
  std::string stderr_path;               // appended to
  // Asked every 100 ms or after each line; when true the child gets stop_signal, and SIGKILL after `grace`.
  std::function<bool()> should_stop;
  int stop_signal = SIGTERM;
  std::chrono::milliseconds grace = std::chrono::seconds(20);
  // Asked together with should_stop; when true the child gets SIGKILL at once. May be empty.
  std::function<bool()> must_stop;
  // Called on the calling thread for each line, without its newline.
  std::function<void(std::string_view line)> on_line;
};

// How a child ended.
struct ProgramEnd {
  int exit_code = 0;     // when signal is 0
  int signal = 0;        // that ended it
  bool stopped = false;  // should_stop had said so

  // "exit code 3", "signal 9 (Killed)"
  std::string Describe() const;
};

// Runs the program to its end. NotFound when it is not there or not executable; FailedPrecondition when
// stderr_path cannot be written; Unavailable when the system has no process or pipe left.
absl::StatusOr<ProgramEnd> RunProgram(const ProgramRun& run);

// Runs `world` processes of the program at once, each told its place by RETORT_RANK, RETORT_WORLD_SIZE and
// RETORT_LOCAL_RANK, until all have ended. on_line gets the lines of rank 0. When one has failed the others
// have `others_grace` to end by themselves and are killed then. Returns how rank 0 ended; when that was well,
// how the first other rank ended that did not end well. should_stop and must_stop are called from several
// threads. Errors as RunProgram.
absl::StatusOr<ProgramEnd> RunRanks(const ProgramRun& run, int world,
                                    std::chrono::milliseconds others_grace = std::chrono::seconds(30));

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_LAUNCHER_H_
