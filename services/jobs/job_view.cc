#include "services/jobs/job_view.h"

#include <string>

#include "retort/error_reason.pb.h"

namespace retort::jobs {
namespace {

void Say(v1::Job& job, ErrorReason reason, const char* message) {
  if (job.state_reason().empty()) job.set_state_reason(ErrorReason_Name(reason));
  if (job.state_message().empty()) job.set_state_message(message);
}

}  // namespace

bool IsTerminal(v1::Job::State state) {
  return state == v1::Job::STATE_SUCCEEDED || state == v1::Job::STATE_FAILED ||
         state == v1::Job::STATE_CANCELLED;
}

bool IsResting(v1::Job::State state) {
  return IsTerminal(state) || state == v1::Job::STATE_PAUSED || state == v1::Job::STATE_AWAITING_REVIEW;
}

void ShowState(int queue_position, v1::Job& job) {
  if (queue_position > 0 && !IsResting(job.state())) {
    job.set_queue_position(queue_position);
    job.set_blocking_resource(kJobSlots);
    Say(job, WAITING_FOR_JOB_SLOT, "waiting until the server has a job slot free");
    return;
  }
  switch (job.state()) {
    case v1::Job::STATE_QUEUED:
      return Say(job, IN_PROGRESS, "policy is asked about the job");
    case v1::Job::STATE_EXTRACTING:
      return Say(job, IN_PROGRESS, "prompts are going to the teacher");
    case v1::Job::STATE_TRAINING:
      return Say(job, IN_PROGRESS, "the student is learning");
    case v1::Job::STATE_EVALUATING:
      return Say(job, IN_PROGRESS, "the student is measured and made ready for its release");
    case v1::Job::STATE_PAUSING:
      return Say(job, PAUSED, "calls in flight are finished, then the job rests");
    case v1::Job::STATE_CANCELLING:
      return Say(job, CANCELLED, "calls in flight are finished, then the job stops");
    default:
      return;
  }
}

std::string ResourceOf(std::string_view peer) {
  if (peer == "storage") return "server/storage";
  return "services/" + std::string(peer);
}

}  // namespace retort::jobs
