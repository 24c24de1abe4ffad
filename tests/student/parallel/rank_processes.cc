#include "tests/student/parallel/rank_processes.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <numeric>

extern char** environ;

namespace retort::student {
namespace {

std::vector<int> AllRanks(int world) {
  std::vector<int> ranks(static_cast<size_t>(world));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

bool OfALauncher(const char* variable) {
  for (const char* prefix : {"OMPI_COMM_WORLD_", "RETORT_RANK=", "RETORT_WORLD_SIZE=", "RETORT_LOCAL_RANK=",
                             "JOB_COMPLETION_INDEX="}) {
    if (std::strncmp(variable, prefix, std::strlen(prefix)) == 0) return true;
  }
  return false;
}

}  // namespace

RankProcesses::RankProcesses(const std::string& program, const std::vector<std::string>& arguments, int world)
    : RankProcesses(program, arguments, world, AllRanks(world)) {}

RankProcesses::RankProcesses(const std::string& program, const std::vector<std::string>& arguments, int world,
                             const std::vector<int>& ranks) {
  for (const int rank : ranks) {
    std::vector<std::string> variables = {"RETORT_RANK=" + std::to_string(rank),
                                          "RETORT_WORLD_SIZE=" + std::to_string(world)};
    std::vector<char*> argv = {const_cast<char*>(program.c_str())}, envp;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    for (char** variable = environ; *variable != nullptr; ++variable) {
      if (!OfALauncher(*variable)) envp.push_back(*variable);
    }
    for (std::string& variable : variables) envp.push_back(variable.data());
    envp.push_back(nullptr);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) abort();
    Child child;
    child.pid = fork();
    if (child.pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      dup2(ends[1], 1);
      dup2(ends[1], 2);
      execve(program.c_str(), argv.data(), envp.data());
      _exit(127);
    }
    close(ends[1]);
    child.output = ends[0];
    children_.push_back(std::move(child));
  }
}

RankProcesses::~RankProcesses() {
  for (Child& child : children_) {
    if (!child.done) {
      kill(child.pid, SIGKILL);
      waitpid(child.pid, nullptr, 0);
    }
    if (child.output >= 0) close(child.output);
  }
}

void RankProcesses::Kill(int index, int signal) {
  kill(children_[static_cast<size_t>(index)].pid, signal);
}

bool RankProcesses::ReadSome(Child& child, int milliseconds) {
  if (child.output < 0) return false;
  pollfd ready{child.output, POLLIN, 0};
  if (poll(&ready, 1, milliseconds) <= 0) return true;
  char buffer[4096];
  const ssize_t count = read(child.output, buffer, sizeof(buffer));
  if (count <= 0) {
    close(child.output);
    child.output = -1;
    return false;
  }
  child.end.output.append(buffer, static_cast<size_t>(count));
  return true;
}

bool RankProcesses::AwaitOutput(int index, const std::string& text) {
  Child& child = children_[static_cast<size_t>(index)];
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (child.end.output.find(text) == std::string::npos) {
    if (!ReadSome(child, 1000) || std::chrono::steady_clock::now() > give_up) return false;
  }
  return true;
}

std::vector<RankEnd> RankProcesses::Wait(std::chrono::milliseconds limit) {
  const auto give_up = std::chrono::steady_clock::now() + limit;
  for (;;) {
    bool running = false;
    for (Child& child : children_) {
      if (child.done) continue;
      ReadSome(child, 10);
      int status = 0;
      if (waitpid(child.pid, &status, WNOHANG) != child.pid) {
        running = true;
        if (std::chrono::steady_clock::now() > give_up) kill(child.pid, SIGKILL);
        continue;
      }
      while (ReadSome(child, 0) && child.output >= 0) {
        pollfd ready{child.output, POLLIN, 0};
        if (poll(&ready, 1, 0) <= 0) break;
      }
      child.done = true;
      if (WIFEXITED(status)) child.end.exit_code = WEXITSTATUS(status);
      if (WIFSIGNALED(status)) child.end.signal = WTERMSIG(status);
    }
    if (!running) break;
  }
  std::vector<RankEnd> ends;
  for (const Child& child : children_) ends.push_back(child.end);
  return ends;
}

std::string FreshName() {
  static std::atomic<int> count{0};
  return "/retort-test-" + std::to_string(getpid()) + "-" + std::to_string(++count);
}

}  // namespace retort::student
