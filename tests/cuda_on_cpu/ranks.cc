#include "tests/cuda_on_cpu/ranks.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>

namespace retort::cuda_on_cpu {

std::vector<int> RunRanks(int ranks, int seconds, const std::function<bool(int rank)>& body) {
  std::fflush(nullptr);
  std::vector<pid_t> processes;
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t process = fork();
    if (process == 0) {
      const bool good = body(rank);
      std::fflush(nullptr);
      _exit(good ? 0 : 1);
    }
    processes.push_back(process);
  }
  std::vector<int> failed;
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  for (int rank = 0; rank < ranks; ++rank) {
    int status = 0;
    while (waitpid(processes[rank], &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > limit) kill(processes[rank], SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) failed.push_back(rank);
  }
  return failed;
}

}  // namespace retort::cuda_on_cpu
