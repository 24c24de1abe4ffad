// Trainers as children of this process, one for each rank, and as one mpirun that starts them.
#ifndef SERVICES_JOBS_PROCESS_LAUNCHER_H_
#define SERVICES_JOBS_PROCESS_LAUNCHER_H_

#include <chrono>
#include <string>
#include <vector>

#include "services/jobs/trainer_launcher.h"

namespace retort::jobs {

// The children die with this process (launcher.h).
class ProcessLauncher final : public TrainerLauncher {
 public:
  // `program` is the path of retort-train.
  explicit ProcessLauncher(std::string program) : program_(std::move(program)) {}

  absl::Status Check(const std::filesystem::path& runs_dir) override;
  bool uses_this_machine() const override { return true; }
  absl::StatusOr<LaunchEnd> Run(const TrainerLaunch& launch) override;
  absl::Status Clear(const std::string& job_uid, const std::string& run,
                     const std::function<LaunchOrder()>& order) override;

 private:
  const std::string program_;
};

struct MpirunOptions {
  std::string mpirun = "/usr/bin/mpirun";  // path
  std::string program;                     // path of retort-train, the same on every host
  std::string hostfile;                    // empty: this machine
  int ranks_per_host = 0;                  // 0: mpirun chooses
  std::vector<std::string> arguments;      // of mpirun, before the program
};

// One child, mpirun, which sets each rank's place (student/parallel/rank_environment.h). Ranks other than 0
// print nothing on standard output, so what mpirun prints is what rank 0 prints.
//
// A stop is SIGUSR1, which mpirun passes on at once; SIGTERM it would keep back for a while and then follow
// up with SIGKILL. A rank that fails makes mpirun end the others within 10 s. When this process is killed,
// mpirun is too; its ranks notice that their parent has gone, write a checkpoint and leave
// (--stop-with-parent), and the next launch waits for that: for the run folder's lock.
class MpirunLauncher final : public TrainerLauncher {
 public:
  explicit MpirunLauncher(MpirunOptions options) : options_(std::move(options)) {}

  absl::Status Check(const std::filesystem::path& runs_dir) override;
  bool uses_this_machine() const override { return options_.hostfile.empty(); }
  absl::StatusOr<LaunchEnd> Run(const TrainerLaunch& launch) override;
  absl::Status Clear(const std::string& job_uid, const std::string& run,
                     const std::function<LaunchOrder()>& order) override;

 private:
  const MpirunOptions options_;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_PROCESS_LAUNCHER_H_
