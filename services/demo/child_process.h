// Programs that the demo starts.
#ifndef SERVICES_DEMO_CHILD_PROCESS_H_
#define SERVICES_DEMO_CHILD_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::services {

// A running program in a process group of its own, so that Ctrl-C in the terminal reaches only its parent. It
// is stopped when this object goes, and the kernel ends it when the thread that started it dies. One thread.
class ChildProcess {
 public:
  // Starts argv[0] (a path) with its output in the two files, which are made anew. NotFound when there is no
  // such program; Unavailable when a file or a process cannot be made.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const std::vector<std::string>& argv,
                                                             const std::string& stdout_file,
                                                             const std::string& stderr_file);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Exit status when it has ended (128 + signal when one ended it); empty while it runs.
  std::optional<int> Poll();

  // SIGTERM, then SIGKILL when it has not ended after `grace`. Returns the exit status.
  int Stop(std::chrono::milliseconds grace);

 private:
  explicit ChildProcess(pid_t pid) : pid_(pid) {}

  pid_t pid_;
  std::optional<int> status_;
};

struct CommandResult {
  int exit_code = 0;
  std::string out, err;  // at most 1 MiB of each
};

// Runs a program to its end. Errors of Start; DeadlineExceeded (and the program is stopped) after `timeout`.
// Its output passes through files in the folder `scratch`.
absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& argv, const std::string& scratch,
                                         std::chrono::seconds timeout);

}  // namespace retort::services

#endif  // SERVICES_DEMO_CHILD_PROCESS_H_
