// Works on jobs: takes each from the stage where it stands to its end, and after a restart from where it was.
//
// A fixed set of long-lived threads takes jobs in the order in which they were handed over; a job stays with
// its thread until it ends, waits for a person, or the runner stops. Everything that a job has reached is in
// the store, so a runner that is killed at any moment loses nothing but calls in flight.
#ifndef SERVICES_JOBS_RUNNER_H_
#define SERVICES_JOBS_RUNNER_H_

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "services/jobs/job_context.h"

namespace retort::jobs {

// Thread-safe.
class JobRunner {
 public:
  // `place` outlives the runner.
  JobRunner(Workplace& place, int active_jobs_max);
  ~JobRunner();

  // Starts the threads with every unfinished job of the store. DataLoss or Unavailable when the store cannot
  // be read.
  absl::Status Start();

  // Hands a job over that has work to do; nothing happens when it is being worked on already.
  void Add(const std::string& job);

  // Tells the job's thread that the job, whose state is CANCELLING or PAUSING already, is to stop. A job that
  // waits for a thread has nothing to stop: it is taken up before the others.
  void Interrupt(const std::string& job);

  // The place of a job that waits for a thread among those of its project that do, from 1; 0 when it does not
  // wait.
  int QueuePosition(const std::string& job) const;

  // Stops: nothing new is begun, calls in flight have `grace` to end and are then cancelled. Jobs keep their
  // state.
  void Stop(std::chrono::milliseconds grace);

 private:
  void Work();
  void RunJob(const std::string& name, StopSignal& stop);

  Workplace& place_;
  const int threads_max_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> queue_;
  std::map<std::string, std::unique_ptr<StopSignal>>
      active_;                   // owned here for as long as the job is worked on
  std::set<std::string> again_;  // handed over while active: looked at once more
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_RUNNER_H_
