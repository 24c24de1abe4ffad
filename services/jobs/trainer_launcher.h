// The seam between a job that is to be trained and whatever runs the processes of retort-train: children of
// this process (process_launcher.h), mpirun (mpirun_launcher.h), or a Kubernetes Job (kubernetes_launcher.h).
//
// A launch is one try at a run: all its ranks begin and end together. The caller numbers launches and counts
// a launch as over only when it has recorded how it ended, so after a crash it asks for the same launch
// again. Where trainers outlive this process, that finds the one that is under way; elsewhere it begins it
// anew, and the run goes on from its newest checkpoint either way.
#ifndef SERVICES_JOBS_TRAINER_LAUNCHER_H_
#define SERVICES_JOBS_TRAINER_LAUNCHER_H_

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace retort::jobs {

// Exit status of a retort-train that a signal has ended: the same command goes on where it was.
inline constexpr int kTrainerExitStopped = 3;

// What the caller wants of a launch. It only rises.
enum class LaunchOrder {
  kGoOn,
  kStop,      // the run is not wanted any more: end it; a trainer that can write a checkpoint first does
  kLeave,     // this process goes down: where trainers outlive it, leave them; elsewhere as kStop
  kLeaveNow,  // the same, without a grace
};

// A line that rank 0 has printed.
struct TrainerLine {
  std::string_view text;  // without its newline
  // How far the launcher's source of lines has been read, this line included; opaque. Empty where a launch
  // ends with this process, so that its lines never come again.
  std::string_view position;
  // The line was handed over by an earlier process, at or before TrainerLaunch::position: its effects are
  // recorded.
  bool replayed = false;
};

struct TrainerLaunch {
  std::string job, job_uid, run;
  int number = 1;  // of all launches of the job, from 1
  int world = 1;
  std::vector<std::string> arguments;  // of retort-train, the same for every rank
  std::filesystem::path folder;        // of the run; there
  std::string promise;   // what an earlier process gave to keep_promise for this launch; or empty
  std::string position;  // of the newest line whose effects are recorded; or empty

  // Asked every 100 ms, by several threads.
  std::function<LaunchOrder()> order;
  // On the calling thread, in order.
  std::function<void(const TrainerLine& line)> on_line;
  // Why the ranks have not begun, each time it changes; empty once they have. `cluster_away`: because whoever
  // would start them cannot be reached. On the calling thread. May be empty.
  std::function<void(bool cluster_away, const std::string& why)> on_waiting;
  // Makes `promise` durable before anything is begun that outlives this process; an error ends the launch.
  // May be empty where nothing does.
  std::function<absl::Status(const std::string& promise)> keep_promise;
};

// How a launch ended.
struct LaunchEnd {
  bool well = false;  // every rank ended with 0
  bool stopped =
      false;  // not well: every rank that ended ill was told to stop, by whomever, and another launch goes on
  bool left = false;        // it has not ended: this process goes and leaves it
  std::string description;  // "exit code 1", "signal 9 (Killed)", "rank 2: signal 9 (OOMKilled): …"
};

class TrainerLauncher {
 public:
  virtual ~TrainerLauncher() = default;

  // Looks at the start whether launches can work; `runs_dir` is where run folders will be. FailedPrecondition
  // or InvalidArgument says what was seen and what is wanted. What may pass by itself (nobody answers) is no
  // error.
  virtual absl::Status Check(const std::filesystem::path& runs_dir) = 0;

  // True when the ranks compute on this machine, where one run uses every core.
  virtual bool uses_this_machine() const = 0;

  // Runs a launch to its end, or until it is to be left. Errors: the launch could not be begun and trying
  // again would not help. To be called on a thread that outlives the call by itself (launcher.h).
  virtual absl::StatusOr<LaunchEnd> Run(const TrainerLaunch& launch) = 0;

  // Ends every launch of the run that is under way, and removes what launches have left outside the run
  // folder. Waits for the trainers to be gone, with a grace; Cancelled when `order` says kLeave or more
  // meanwhile. Unavailable: what is left could not be removed. May be called when nothing is left, and for
  // runs that were never launched.
  virtual absl::Status Clear(const std::string& job_uid, const std::string& run,
                             const std::function<LaunchOrder()>& order) = 0;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_TRAINER_LAUNCHER_H_
