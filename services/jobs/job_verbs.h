// The calls that change a job: update, cancel, pause, resume, retry, delete. Each is one write of the store,
// which holds the request id too, and then a word to the runner. Thread-safe.
#ifndef SERVICES_JOBS_JOB_VERBS_H_
#define SERVICES_JOBS_JOB_VERBS_H_

#include "absl/status/statusor.h"
#include "services/jobs/job_context.h"
#include "services/jobs/runner.h"

namespace retort::jobs {

// FailedPrecondition with JOB_STATE: "<job> is STATE_X, wanted <wanted>".
absl::Status WrongState(const v1::Job& job, const std::string& wanted);

class JobVerbs {
 public:
  // Both outlive the verbs.
  JobVerbs(Workplace& place, JobRunner& runner) : place_(place), runner_(runner) {}

  // Each returns the job after the change, without prompts, or for a repeated request as it was answered
  // first. NotFound; Aborted with ETAG_MISMATCH; FailedPrecondition with JOB_STATE when the state does not
  // allow the verb; InvalidArgument as validate.h and with REQUEST_ID_REUSED; the errors of the store. Resume
  // and Retry also: AlreadyExists when the student's name was given to another job meanwhile.
  absl::StatusOr<v1::Job> Update(const v1::UpdateJobRequest& request);
  absl::StatusOr<v1::Job> Cancel(const v1::CancelJobRequest& request);
  absl::StatusOr<v1::Job> Pause(const v1::PauseJobRequest& request);
  absl::StatusOr<v1::Job> Resume(const v1::ResumeJobRequest& request);
  absl::StatusOr<v1::Job> Retry(const v1::RetryJobRequest& request);
  absl::Status Delete(const v1::DeleteJobRequest& request);

 private:
  // A job that rests goes on from where it was; `may` says which do.
  template <class Request>
  absl::StatusOr<v1::Job> GoOn(const Request& request, const char* method, const char* event,
                               const char* wanted, bool (*may)(const v1::JobRecord&));
  absl::Status CheckOwnsStudent(const v1::Job& job) const;
  absl::Status ForgetFailures(const std::string& uid);

  Workplace& place_;
  JobRunner& runner_;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_JOB_VERBS_H_
