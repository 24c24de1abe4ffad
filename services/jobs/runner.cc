#include "services/jobs/runner.h"

#include <algorithm>

#include "services/edge/status.h"
#include "services/jobs/dataset_step.h"
#include "services/jobs/extraction.h"
#include "services/jobs/job_view.h"
#include "services/jobs/preflight.h"
#include "services/jobs/release.h"
#include "services/jobs/training_step.h"
#include "services/telemetry/log.h"

namespace retort::jobs {
namespace {

absl::StatusOr<StepEnd> RunStage(JobContext& job, const v1::JobRecord& record) {
  switch (record.stage()) {
    case v1::JobRecord::STAGE_PREFLIGHT:
      return Preflight(job, record);
    case v1::JobRecord::STAGE_EXTRACTION:
      return Extract(job, record);
    case v1::JobRecord::STAGE_DATASET:
      return FreezeDataset(job, record);
    case v1::JobRecord::STAGE_TRAINING:
      return Train(job, record);
    case v1::JobRecord::STAGE_RELEASE:
      return Release(job, record);
    default:
      return absl::InternalError("the job's stored stage is unknown");
  }
}

void SetState(v1::JobRecord& record, v1::Job::State state, ErrorReason reason, const std::string& message) {
  v1::Job& job = *record.mutable_job();
  job.set_state(state);
  job.set_state_reason(reason == ERROR_REASON_UNSPECIFIED ? "" : ErrorReason_Name(reason));
  job.set_state_message(message);
  job.clear_blocking_resource();
}

// The reason that a job shows for an error without one.
ErrorReason ReasonFor(const absl::Status& status) {
  if (const ErrorReason reason = services::ReasonOf(status); reason != ERROR_REASON_UNSPECIFIED)
    return reason;
  if (absl::IsUnavailable(status)) return PEER_UNAVAILABLE;
  if (absl::IsDataLoss(status)) return LEDGER_CORRUPT;
  return INTERNAL;
}

// Before a job ends without a student: what its training used goes into the ledger. False when the server
// stops; the job is then left as it is and ends after the next start.
bool Settled(JobContext& job, const v1::JobRecord& record, const StopSignal& stop) {
  if (record.stage() == v1::JobRecord::STAGE_TRAINING) SettleUsage(job, record);
  return stop.kind() < StopSignal::Kind::kShutdown;
}

}  // namespace

JobRunner::JobRunner(Workplace& place, int active_jobs_max) : place_(place), threads_max_(active_jobs_max) {}

JobRunner::~JobRunner() {
  Stop(std::chrono::milliseconds(0));
}

absl::Status JobRunner::Start() {
  auto unfinished = place_.store->Unfinished();
  if (!unfinished.ok()) return unfinished.status();
  std::lock_guard lock(mutex_);
  for (std::string& name : *unfinished) {
    if (std::find(queue_.begin(), queue_.end(), name) == queue_.end()) queue_.push_back(std::move(name));
  }
  for (int i = 0; i < threads_max_; ++i) threads_.emplace_back([this] { Work(); });
  return absl::OkStatus();
}

void JobRunner::Add(const std::string& job) {
  std::lock_guard lock(mutex_);
  if (active_.count(job) != 0) {
    again_.insert(job);
    return;
  }
  if (std::find(queue_.begin(), queue_.end(), job) == queue_.end()) queue_.push_back(job);
  changed_.notify_one();
}

void JobRunner::Interrupt(const std::string& job) {
  std::lock_guard lock(mutex_);
  if (const auto active = active_.find(job); active != active_.end()) {
    active->second->Raise(StopSignal::Kind::kCancel);
    again_.insert(job);
    return;
  }
  if (const auto queued = std::find(queue_.begin(), queue_.end(), job); queued != queue_.end())
    queue_.erase(queued);
  queue_.push_front(job);
  changed_.notify_one();
}

int JobRunner::QueuePosition(const std::string& job) const {
  const std::string_view project = std::string_view(job).substr(0, job.find("/jobs/") + 6);
  std::lock_guard lock(mutex_);
  int position = 0;
  for (const std::string& name : queue_) {
    position += name.starts_with(project);
    if (name == job) return position;
  }
  return 0;
}

void JobRunner::Stop(std::chrono::milliseconds grace) {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  for (auto& [name, stop] : active_) stop->Raise(StopSignal::Kind::kShutdown);
  changed_.notify_all();
  changed_.wait_for(lock, grace, [&] { return active_.empty(); });
  for (auto& [name, stop] : active_) stop->Raise(StopSignal::Kind::kAbort);
  std::vector<std::thread> threads = std::move(threads_);
  threads_.clear();
  lock.unlock();
  for (std::thread& thread : threads) thread.join();
}

void JobRunner::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const std::string name = queue_.front();
    queue_.pop_front();
    StopSignal& stop = *(active_[name] = std::make_unique<StopSignal>());
    lock.unlock();
    RunJob(name, stop);
    lock.lock();
    active_.erase(name);
    if (again_.erase(name) != 0) queue_.push_back(name);
    changed_.notify_all();
  }
}

void JobRunner::RunJob(const std::string& name, StopSignal& stop) {
  JobContext job(place_, stop, name);
  const auto before = place_.store->Read(name);
  if (before.ok() && before->job().state() == v1::Job::STATE_QUEUED && place_.began) {
    const auto created = std::chrono::seconds(before->job().create_time().seconds());
    place_.began(
        std::chrono::duration_cast<std::chrono::milliseconds>(place_.now().time_since_epoch() - created));
  }
  if (before.ok() &&
      (before->job().state_reason() == "PEER_UNAVAILABLE" ||
       before->job().state_reason() == "TRAINING_WAITS") &&
      !IsResting(before->job().state())) {
    // An earlier process ended while it waited; this one has not asked yet.
    job.Change("going on",
               [](v1::JobRecord& stored) {
                 stored.mutable_job()->clear_state_reason();
                 stored.mutable_job()->clear_state_message();
               })
        .IgnoreError();
  }
  for (;;) {
    auto record = place_.store->Read(name);
    absl::Status problem = record.status();
    if (record.ok()) {
      if (IsResting(record->job().state())) return;
      if (record->job().state() == v1::Job::STATE_CANCELLING) {
        if (!Settled(job, *record, stop)) return;
        problem = job.Change("cancelled",
                             [](v1::JobRecord& stored) {
                               SetState(stored, v1::Job::STATE_CANCELLED, ERROR_REASON_UNSPECIFIED,
                                        "what the teacher had answered is in the ledger");
                             })
                      .status();
        if (problem.ok()) return;
      } else if (record->job().state() == v1::Job::STATE_PAUSING) {
        problem = job.Change("paused",
                             [](v1::JobRecord& stored) {
                               // Somebody may have cancelled it meanwhile; then it is looked at once more.
                               if (stored.job().state() != v1::Job::STATE_PAUSING) return;
                               SetState(stored, v1::Job::STATE_PAUSED, PAUSED,
                                        "somebody asked the job to rest; resume it to let it go on");
                             })
                      .status();
        if (problem.ok()) continue;
      } else {
        auto end = RunStage(job, *record);
        if (end.ok() && *end == StepEnd::kNext) continue;
        if (end.ok()) return;
        if (stop.kind() >= StopSignal::Kind::kShutdown) return;
        if (stop.kind() == StopSignal::Kind::kCancel) continue;  // the record says CANCELLING or PAUSING
        if (!Settled(job, *record, stop)) return;
        problem = job.Change("failed",
                             [&](v1::JobRecord& stored) {
                               const bool cancelling = stored.job().state() == v1::Job::STATE_CANCELLING;
                               SetState(stored, cancelling ? v1::Job::STATE_CANCELLED : v1::Job::STATE_FAILED,
                                        ReasonFor(end.status()), std::string(end.status().message()));
                             })
                      .status();
        if (problem.ok()) return;
      }
    }
    if (stop.kind() >= StopSignal::Kind::kShutdown) return;
    // Only a broken database gets here; the job keeps its last good state until the server is started again.
    services::Log(services::LogLevel::kError, "jobs: cannot go on: " + std::string(problem.message()),
                  {.job = name});
    return;
  }
}

}  // namespace retort::jobs
