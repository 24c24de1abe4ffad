#include "services/jobs/process_launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <thread>

#include "services/jobs/launcher.h"

namespace retort::jobs {
namespace {

// Between mpirun's signals to the ranks that are left when one has failed, and once more after the last.
constexpr std::chrono::seconds kMpirunPause(5);

absl::Status CheckExecutable(const std::string& program) {
  if (access(program.c_str(), X_OK) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(program + ": " + strerror(errno) + ", wanted an executable program");
}

ProgramRun ChildOf(const TrainerLaunch& launch) {
  ProgramRun child;
  child.stderr_path = (launch.folder / "train.log").string();
  child.should_stop = [&launch] { return launch.order() > LaunchOrder::kGoOn; };
  child.must_stop = [&launch] { return launch.order() == LaunchOrder::kLeaveNow; };
  child.on_line = [&launch](std::string_view line) { launch.on_line({line, "", false}); };
  return child;
}

// Waits until no trainer holds the run folder (its lock, student/training/run_folder.h). False when the order
// changed first.
bool AwaitFolder(const TrainerLaunch& launch) {
  const int fd = open((launch.folder / "lock").c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return true;  // no trainer has been there
  bool said = false;
  int held = 0;
  while ((held = flock(fd, LOCK_EX | LOCK_NB)) != 0 && errno == EWOULDBLOCK &&
         launch.order() == LaunchOrder::kGoOn) {
    if (!std::exchange(said, true) && launch.on_waiting) {
      launch.on_waiting(false, "ranks of an earlier launch still write their checkpoint");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  close(fd);
  if (said && launch.on_waiting) launch.on_waiting(false, "");
  return held == 0 || launch.order() == LaunchOrder::kGoOn;
}

LaunchEnd EndOf(const ProgramEnd& end) {
  LaunchEnd launch;
  launch.well = end.signal == 0 && end.exit_code == 0;
  launch.stopped = end.signal == 0 && end.exit_code == kTrainerExitStopped;
  launch.description = end.Describe();
  return launch;
}

}  // namespace

// A program that is missing fails the jobs that are to train, not the server: others only extract.
absl::Status ProcessLauncher::Check(const std::filesystem::path&) {
  return absl::OkStatus();
}

absl::StatusOr<LaunchEnd> ProcessLauncher::Run(const TrainerLaunch& launch) {
  ProgramRun child = ChildOf(launch);
  child.program = program_;
  child.arguments = launch.arguments;
  auto end = RunRanks(child, launch.world);
  if (!end.ok()) return end.status();
  return EndOf(*end);
}

absl::Status ProcessLauncher::Clear(const std::string&, const std::string&,
                                    const std::function<LaunchOrder()>&) {
  return absl::OkStatus();  // Run returns when its children have ended, and they end with this process
}

absl::Status MpirunLauncher::Check(const std::filesystem::path&) {
  if (auto status = CheckExecutable(options_.mpirun); !status.ok()) return status;
  if (options_.hostfile.empty() || access(options_.hostfile.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError("hostfile " + options_.hostfile + ": " + strerror(errno));
}

absl::StatusOr<LaunchEnd> MpirunLauncher::Run(const TrainerLaunch& launch) {
  if (!AwaitFolder(launch)) return LaunchEnd{.stopped = true, .description = "stopped before it began"};
  ProgramRun child = ChildOf(launch);
  child.program = options_.mpirun;
  child.arguments = {"-n", std::to_string(launch.world), "--mca", "odls_base_sigkill_timeout",
                     std::to_string(kMpirunPause.count())};
  if (!options_.hostfile.empty()) {
    child.arguments.insert(child.arguments.end(), {"--hostfile", options_.hostfile});
  }
  if (options_.ranks_per_host > 0) {
    child.arguments.insert(child.arguments.end(), {"--npernode", std::to_string(options_.ranks_per_host)});
  }
  child.arguments.insert(child.arguments.end(), options_.arguments.begin(), options_.arguments.end());
  child.arguments.push_back(options_.program);
  child.arguments.insert(child.arguments.end(), launch.arguments.begin(), launch.arguments.end());
  child.arguments.push_back("--stop-with-parent");
  child.stop_signal = SIGUSR1;
  child.grace += 3 * kMpirunPause;  // rank 0 leaves with its own status, for which mpirun pauses twice
  auto end = RunProgram(child);
  if (!end.ok()) return end.status();
  return EndOf(*end);
}

absl::Status MpirunLauncher::Clear(const std::string&, const std::string&,
                                   const std::function<LaunchOrder()>&) {
  return absl::OkStatus();
}

}  // namespace retort::jobs
