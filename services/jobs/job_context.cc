#include "services/jobs/job_context.h"

#include "services/edge/status.h"
#include "services/jobs/job_view.h"

namespace retort::jobs {

JobContext::JobContext(Workplace& place, StopSignal& stop, std::string name)
    : place_(place), stop_(stop), name_(std::move(name)), project_(name_.substr(0, name_.find("/jobs/"))) {}

absl::StatusOr<v1::JobRecord> JobContext::Change(std::string_view event,
                                                 const std::function<void(v1::JobRecord&)>& change) {
  for (int tries = 1;; ++tries) {
    if (stop_.aborted()) return absl::CancelledError("the server is stopping");
    auto changed = place_.store->Change(name_, event, [&](v1::JobRecord& record) {
      change(record);
      return absl::OkStatus();
    });
    if (changed.ok() || !absl::IsUnavailable(changed.status())) return changed;
    // A full disk: what is not recorded must not be done, so the job waits here.
    if (stop_.SleepUnless(StopSignal::Kind::kShutdown, place_.patience.pauses.Before(tries))) {
      return absl::CancelledError("stopped while the database could not write");
    }
  }
}

void JobContext::Waiting(std::string_view peer, const absl::Status& status) {
  const ErrorReason said = services::ReasonOf(status);
  const bool endpoint =
      said == TEACHER_RATE_LIMITED || said == TEACHER_TIMEOUT || said == TEACHER_UNAVAILABLE;
  std::string message;
  if (!status.ok()) {
    message = "waiting for the " + std::string(peer) + (endpoint ? "'s endpoint: " : " service: ") +
              std::string(status.message());
  }
  std::lock_guard lock(waiting_mutex_);
  if (message == waiting_for_) return;
  waiting_for_ = message;
  // A message that cannot be stored now is no reason to stop waiting.
  Change(message.empty() ? "going on" : message, [&](v1::JobRecord& record) {
    record.mutable_job()->set_state_reason(message.empty() ? ""
                                           : endpoint      ? ErrorReason_Name(said)
                                                           : "PEER_UNAVAILABLE");
    record.mutable_job()->set_state_message(message);
    record.mutable_job()->set_blocking_resource(message.empty() ? "" : ResourceOf(peer));
  }).IgnoreError();
}

void Advance(v1::JobRecord& record, v1::JobRecord::Stage stage, v1::Job::State state) {
  record.set_stage(stage);
  v1::Job& job = *record.mutable_job();
  if (job.state() == v1::Job::STATE_CANCELLING || job.state() == v1::Job::STATE_PAUSING) return;
  job.set_state(state);
  job.clear_state_reason();
  job.clear_state_message();
  job.clear_blocking_resource();
}

v1::Job::State StateOf(v1::JobRecord::Stage stage) {
  switch (stage) {
    case v1::JobRecord::STAGE_EXTRACTION:
    case v1::JobRecord::STAGE_DATASET:
      return v1::Job::STATE_EXTRACTING;
    case v1::JobRecord::STAGE_TRAINING:
      return v1::Job::STATE_TRAINING;
    case v1::JobRecord::STAGE_RELEASE:
      return v1::Job::STATE_EVALUATING;
    case v1::JobRecord::STAGE_DONE:
      return v1::Job::STATE_SUCCEEDED;
    default:
      return v1::Job::STATE_QUEUED;
  }
}

}  // namespace retort::jobs
