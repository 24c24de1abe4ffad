#include "services/jobs/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

extern char** environ;

namespace retort::jobs {
namespace {

constexpr int kPollMs = 100;
constexpr int kExecFailed = 127;

// A descriptor that is closed with its owner.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    Close();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  ~Descriptor() { Close(); }
  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

// Splits what is read into lines and keeps the rest of an unfinished one.
class LineReader {
 public:
  explicit LineReader(const std::function<void(std::string_view)>& on_line) : on_line_(on_line) {}

  void Add(std::string_view bytes) {
    for (size_t end; (end = bytes.find('\n')) != std::string_view::npos; bytes.remove_prefix(end + 1)) {
      Keep(bytes.substr(0, end));
      Flush();
    }
    Keep(bytes);
  }

  void Flush() {
    if (!line_.empty() && on_line_) on_line_(line_);
    line_.clear();
  }

 private:
  void Keep(std::string_view bytes) { line_.append(bytes.substr(0, kOutputLineBytesMax - line_.size())); }

  const std::function<void(std::string_view)>& on_line_;
  std::string line_;
};

// What the child gets as its environment; points into `added` and environ.
std::vector<char*> Environment(const std::vector<std::string>& added) {
  std::vector<char*> all;
  for (char** inherited = environ; *inherited != nullptr; ++inherited) {
    const std::string_view variable = *inherited;
    const bool replaced = std::any_of(added.begin(), added.end(), [&](const std::string& other) {
      return variable.substr(0, variable.find('=') + 1) == other.substr(0, other.find('=') + 1);
    });
    if (!replaced) all.push_back(*inherited);
  }
  for (const std::string& variable : added) all.push_back(const_cast<char*>(variable.c_str()));
  all.push_back(nullptr);
  return all;
}

// Between fork and exec only async-signal-safe calls are allowed: other threads may have held any lock.
[[noreturn]] void BecomeProgram(const char* program, char* const* arguments, char* const* environment,
                                int out, int err, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kExecFailed);  // the parent went before the line above
  const int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(kExecFailed);
  syscall(SYS_close_range, 3u, ~0u,
          0u);  // sockets and databases of the server are none of the child's business
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  execve(program, arguments, environment);
  _exit(kExecFailed);
}

// Reads the output and watches for the stop until the child has closed its output and ended.
ProgramEnd Attend(const ProgramRun& run, pid_t child, Descriptor out) {
  using Clock = std::chrono::steady_clock;
  ProgramEnd end;
  LineReader lines(run.on_line);
  Clock::time_point kill_at = Clock::time_point::max();
  bool open = true;
  int status = 0;
  for (bool ended = false; !ended;) {
    if (!end.stopped && run.should_stop && run.should_stop()) {
      end.stopped = true;
      kill(child, run.stop_signal);
      kill_at = Clock::now() + run.grace;
    }
    if (run.must_stop && run.must_stop()) {
      end.stopped = true;
      kill_at = Clock::time_point::min();
    }
    if (Clock::now() >= kill_at) kill(child, SIGKILL);
    if (open) {
      pollfd ready{out.get(), POLLIN, 0};
      if (poll(&ready, 1, kPollMs) > 0) {
        char buffer[16 * 1024];
        const ssize_t count = read(out.get(), buffer, sizeof(buffer));
        if (count > 0) lines.Add(std::string_view(buffer, static_cast<size_t>(count)));
        if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) open = false;
        if (count > 0) continue;
      }
    } else {
      poll(nullptr, 0, 10);  // output closed, child still there
    }
    ended = waitpid(child, &status, WNOHANG) == child;
  }
  // What the child wrote last may still be in the pipe; a grandchild that holds it open is not waited for.
  while (open) {
    pollfd ready{out.get(), POLLIN, 0};
    char buffer[16 * 1024];
    if (poll(&ready, 1, 0) <= 0) break;
    const ssize_t count = read(out.get(), buffer, sizeof(buffer));
    if (count <= 0) break;
    lines.Add(std::string_view(buffer, static_cast<size_t>(count)));
  }
  lines.Flush();
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  return end;
}

}  // namespace

std::string ProgramEnd::Describe() const {
  if (signal == 0) return "exit code " + std::to_string(exit_code);
  const char* name = sigdescr_np(signal);
  return "signal " + std::to_string(signal) + " (" + (name == nullptr ? "unknown" : name) + ")";
}

absl::StatusOr<ProgramEnd> RunProgram(const ProgramRun& run) {
  if (access(run.program.c_str(), X_OK) != 0) {
    return absl::NotFoundError(run.program + ": " + strerror(errno) + ", wanted an executable program");
  }
  Descriptor err(open(run.stderr_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (err.get() < 0) return absl::FailedPreconditionError(run.stderr_path + ": " + strerror(errno));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::UnavailableError(std::string("pipe: ") + strerror(errno));
  Descriptor read_end(ends[0]), write_end(ends[1]);

  std::vector<char*> arguments = {const_cast<char*>(run.program.c_str())};
  for (const std::string& argument : run.arguments) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> environment = Environment(run.environment);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return absl::UnavailableError(std::string("fork: ") + strerror(errno));
  if (child == 0) {
    BecomeProgram(run.program.c_str(), arguments.data(), environment.data(), write_end.get(), err.get(),
                  parent);
  }
  write_end.Close();
  err.Close();
  return Attend(run, child, std::move(read_end));
}

absl::StatusOr<ProgramEnd> RunRanks(const ProgramRun& run, int world,
                                    std::chrono::milliseconds others_grace) {
  using Clock = std::chrono::steady_clock;
  if (world == 1) return RunProgram(run);
  std::atomic<Clock::rep> first_failure{0};  // 0: none
  std::vector<std::optional<absl::StatusOr<ProgramEnd>>> ends(static_cast<size_t>(world));
  const auto run_rank = [&](int rank) {
    ProgramRun own = run;
    own.environment.push_back("RETORT_RANK=" + std::to_string(rank));
    own.environment.push_back("RETORT_WORLD_SIZE=" + std::to_string(world));
    own.environment.push_back("RETORT_LOCAL_RANK=" + std::to_string(rank));
    if (rank != 0) own.on_line = nullptr;
    own.must_stop = [&] {
      const Clock::rep failed = first_failure;
      return (run.must_stop && run.must_stop()) ||
             (failed != 0 &&
              Clock::now().time_since_epoch().count() - failed > Clock::duration(others_grace).count());
    };
    auto end = RunProgram(own);
    if (!end.ok() || end->signal != 0 || end->exit_code != 0) {
      Clock::rep none = 0;
      first_failure.compare_exchange_strong(none, Clock::now().time_since_epoch().count());
    }
    ends[static_cast<size_t>(rank)] = std::move(end);
  };
  // Each rank has a thread of its own, which forks it and outlives it (see the head of launcher.h).
  std::vector<std::thread> others;
  for (int rank = 1; rank < world; ++rank) others.emplace_back(run_rank, rank);
  run_rank(0);
  for (std::thread& other : others) other.join();
  for (const auto& end : ends) {
    if (!end->ok() || (*end)->signal != 0 || (*end)->exit_code != 0) return *end;
  }
  return *ends[0];
}

}  // namespace retort::jobs
