#include "services/demo/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

namespace retort::services {
namespace {

constexpr auto kPollPause = std::chrono::milliseconds(20);
constexpr size_t kOutputBytesMax = size_t{1} << 20;

std::string ReadStart(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes(kOutputBytesMax, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(in.gcount()));
  return bytes;
}

int OpenOutput(const std::string& path) {
  return open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const std::vector<std::string>& argv,
                                                                  const std::string& stdout_file,
                                                                  const std::string& stderr_file) {
  if (access(argv[0].c_str(), X_OK) != 0) {
    return absl::NotFoundError(argv[0] +
                               ": no such program: build the targets retort, retortd and retort-train");
  }
  const int out = OpenOutput(stdout_file);
  const int err = out < 0 ? -1 : OpenOutput(stderr_file);
  if (err < 0) {
    const int error = errno;
    if (out >= 0) close(out);
    return absl::UnavailableError(stdout_file + ": cannot be written: " + std::strerror(error));
  }
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();

  const pid_t pid = fork();
  if (pid == 0) {
    // Only async-signal-safe calls from here on: the parent has threads.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(127);  // the parent died before the line above
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  const int error = errno;
  close(out);
  close(err);
  if (pid < 0) return absl::UnavailableError(std::string("cannot start a process: ") + std::strerror(error));
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid));
}

ChildProcess::~ChildProcess() {
  Stop(std::chrono::seconds(5));
}

std::optional<int> ChildProcess::Poll() {
  if (status_) return status_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) == pid_) {
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  return status_;
}

int ChildProcess::Stop(std::chrono::milliseconds grace) {
  if (!Poll()) kill(pid_, SIGTERM);
  const auto deadline = std::chrono::steady_clock::now() + grace;
  while (!Poll() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(kPollPause);
  if (!Poll()) {
    kill(-pid_, SIGKILL);  // with what it started, which is in its group
    kill(pid_, SIGKILL);
    while (!Poll()) std::this_thread::sleep_for(kPollPause);
  }
  return *status_;
}

absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& argv, const std::string& scratch,
                                         std::chrono::seconds timeout) {
  const std::string out_file = scratch + "/stdout", err_file = scratch + "/stderr";
  auto child = ChildProcess::Start(argv, out_file, err_file);
  if (!child.ok()) return child.status();
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!(*child)->Poll()) {
    if (std::chrono::steady_clock::now() > deadline) {
      (*child)->Stop(std::chrono::seconds(1));
      return absl::DeadlineExceededError(argv[0] + " did not end within " + std::to_string(timeout.count()) +
                                         " s");
    }
    std::this_thread::sleep_for(kPollPause);
  }
  return CommandResult{*(*child)->Poll(), ReadStart(out_file), ReadStart(err_file)};
}

}  // namespace retort::services
