// What the steps of one job share: where it is stored, whom it may call, when it must stop.
#ifndef SERVICES_JOBS_JOB_CONTEXT_H_
#define SERVICES_JOBS_JOB_CONTEXT_H_

#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "ledger/signing.h"
#include "services/jobs/pack_register.h"
#include "services/jobs/peer_call.h"
#include "services/jobs/peers.h"
#include "services/jobs/stop_signal.h"
#include "services/jobs/store.h"
#include "services/jobs/trainer_launcher.h"
#include "services/jobs/training.h"

namespace retort::jobs {

// How often things are tried before a job is given up.
struct Patience {
  Pauses pauses;
  int sample_tries = 3;  // calls for one prompt whose answers are errors
  // How long a job waits for an endpoint that answers nobody: that times out, fails or sends everybody away.
  std::chrono::milliseconds outage{0};
  int failed_samples_max = 8;    // prompts given up one after another, without an answer in between
  int failed_launches_max = 10;  // ends of a trainer without a new checkpoint in between
};

// Lives as long as the runner; shared by all jobs.
struct Workplace {
  JobStore* store = nullptr;
  Peers* peers = nullptr;
  PackRegister* packs = nullptr;
  const ledger::SigningKey* key = nullptr;
  TrainerProgram trainer;               // as children of this process see it
  TrainerProgram launched;              // as the processes that `launcher` starts see it
  TrainerLauncher* launcher = nullptr;  // starts training runs
  std::filesystem::path runs_dir, students_dir, licences_dir;
  Patience patience;
  std::function<std::chrono::system_clock::time_point()> now;
  std::function<void(std::chrono::milliseconds)> began;  // JobsServiceOptions::began
  std::timed_mutex training;                             // one run at a time: it uses every core
};

// How a step of a job ended, when it did not fail.
enum class StepEnd {
  kNext,      // the stage has changed, or a cancellation is to be carried out
  kParked,    // the job waits for a person
  kShutDown,  // the server stops; the job is as it was
};

class JobContext {
 public:
  JobContext(Workplace& place, StopSignal& stop, std::string name);

  Workplace& place() { return place_; }
  StopSignal& stop() { return stop_; }
  const std::string& name() const { return name_; }
  const std::string& project() const { return project_; }

  // Changes the job's record (JobStore::Change), and waits while the database cannot write. Cancelled once
  // the signal is aborted, and then nothing is written.
  absl::StatusOr<v1::JobRecord> Change(std::string_view event,
                                       const std::function<void(v1::JobRecord&)>& change);

  // Says on the job whom it waits for; OK takes the message back. Called from any thread.
  void Waiting(std::string_view peer, const absl::Status& status);

  // Calls a peer until it answers; `until` is the signal that ends the waiting.
  template <class Stub, class Request, class Response>
  absl::StatusOr<Response> Ask(std::string_view peer, Stub& stub,
                               grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                               const Request& request, std::chrono::milliseconds deadline = kCallDeadline,
                               StopSignal::Kind until = StopSignal::Kind::kCancel) {
    return CallUntilAnswered<Response>(
        stop_, until, place_.patience.pauses, [&](const absl::Status& status) { Waiting(peer, status); },
        [&] { return CallOnce(stop_, stub, method, request, deadline); });
  }

 private:
  Workplace& place_;
  StopSignal& stop_;
  const std::string name_, project_;
  std::mutex waiting_mutex_;
  std::string waiting_for_;  // what the job says now
};

// Sets stage and state, unless the job is being cancelled or paused: then only the stage, and the runner
// carries out what was asked. Clears reason, message and what the job waited for.
void Advance(v1::JobRecord& record, v1::JobRecord::Stage stage, v1::Job::State state);

// The state in which a job of this stage is worked on.
v1::Job::State StateOf(v1::JobRecord::Stage stage);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_JOB_CONTEXT_H_
