#include "services/jobs/job_verbs.h"

#include <utility>
#include <vector>

#include "services/edge/request_hash.h"
#include "services/edge/status.h"
#include "services/jobs/job_view.h"
#include "services/jobs/validate.h"

namespace retort::jobs {
namespace {

using services::RequestHash;
using services::WithReason;

std::string ProjectOf(const std::string& job) {
  return job.substr(0, job.find("/jobs/"));
}

template <class Request>
RequestKey KeyOf(const std::string& name, const char* method, const Request& request) {
  return {ProjectOf(name), method, request.request_id(), RequestHash(request)};
}

absl::Status CheckEtag(const v1::Job& job, const std::string& etag) {
  if (etag.empty() || etag == job.etag()) return absl::OkStatus();
  return WithReason(absl::AbortedError("etag: saw " + etag.substr(0, 64) + ", the newest is " + job.etag()),
                    ETAG_MISMATCH, {{"etag", job.etag()}});
}

// A refusal stands; every other failure can pass. An unmet duty of a release can be met by the operator.
bool FailedForNow(const v1::JobRecord& record) {
  if (record.job().state() != v1::Job::STATE_FAILED) return false;
  if (record.stage() == v1::JobRecord::STAGE_RELEASE) return true;
  const std::string& reason = record.job().state_reason();
  return reason != "POLICY_DENIED" && reason != "POLICY_REVIEW" && reason != "DATASET_EMPTY";
}

bool CanResume(const v1::JobRecord& record) {
  return record.job().state() == v1::Job::STATE_AWAITING_REVIEW ||
         record.job().state() == v1::Job::STATE_PAUSED || FailedForNow(record);
}

bool CanRetry(const v1::JobRecord& record) {
  return record.job().state() == v1::Job::STATE_CANCELLED || FailedForNow(record);
}

}  // namespace

absl::Status WrongState(const v1::Job& job, const std::string& wanted) {
  const std::string state = v1::Job::State_Name(job.state());
  return WithReason(absl::FailedPreconditionError(job.name() + " is " + state + ", wanted " + wanted),
                    JOB_STATE, {{"name", job.name()}, {"state", state}});
}

absl::StatusOr<v1::Job> JobVerbs::Update(const v1::UpdateJobRequest& request) {
  if (auto valid = Validate(request); !valid.ok()) return valid;
  const v1::Job& wanted = request.job();
  bool name = !request.has_update_mask() && !wanted.display_name().empty();
  bool labels = !request.has_update_mask() && !wanted.labels().empty();
  for (const std::string& path : request.update_mask().paths()) {
    name = name || path == "display_name" || path == "*";
    labels = labels || path == "labels" || path == "*";
  }
  auto record = place_.store->Change(
      wanted.name(), "updated",
      [&](v1::JobRecord& stored) {
        if (auto newest = CheckEtag(stored.job(), wanted.etag()); !newest.ok()) return newest;
        if (name) stored.mutable_job()->set_display_name(wanted.display_name());
        if (labels) *stored.mutable_job()->mutable_labels() = wanted.labels();
        return absl::OkStatus();
      },
      KeyOf(wanted.name(), "UpdateJob", request));
  if (!record.ok()) return record.status();
  return record->job();
}

absl::StatusOr<v1::Job> JobVerbs::Cancel(const v1::CancelJobRequest& request) {
  if (auto valid = Validate(request); !valid.ok()) return valid;
  auto record = place_.store->Change(
      request.name(), "asked to cancel",
      [&](v1::JobRecord& stored) {
        if (auto newest = CheckEtag(stored.job(), request.etag()); !newest.ok()) return newest;
        if (IsTerminal(stored.job().state())) return WrongState(stored.job(), "a job that has not ended");
        stored.mutable_job()->set_state(v1::Job::STATE_CANCELLING);
        stored.mutable_job()->set_state_reason("CANCELLED");
        stored.mutable_job()->set_state_message("calls in flight are finished, then the job stops");
        return absl::OkStatus();
      },
      KeyOf(request.name(), "CancelJob", request));
  if (!record.ok()) return record.status();
  runner_.Interrupt(request.name());
  return record->job();
}

absl::StatusOr<v1::Job> JobVerbs::Pause(const v1::PauseJobRequest& request) {
  if (auto valid = Validate(request); !valid.ok()) return valid;
  auto record = place_.store->Change(
      request.name(), "asked to pause",
      [&](v1::JobRecord& stored) {
        if (auto newest = CheckEtag(stored.job(), request.etag()); !newest.ok()) return newest;
        const v1::Job::State state = stored.job().state();
        if (IsResting(state) || state == v1::Job::STATE_CANCELLING || state == v1::Job::STATE_PAUSING)
          return WrongState(stored.job(), "a job that is queued or worked on");
        stored.mutable_job()->set_state(v1::Job::STATE_PAUSING);
        stored.mutable_job()->set_state_reason("PAUSED");
        stored.mutable_job()->set_state_message("calls in flight are finished, then the job rests");
        return absl::OkStatus();
      },
      KeyOf(request.name(), "PauseJob", request));
  if (!record.ok()) return record.status();
  runner_.Interrupt(request.name());
  return record->job();
}

absl::StatusOr<v1::Job> JobVerbs::Resume(const v1::ResumeJobRequest& request) {
  return GoOn(request, "ResumeJob", "asked to go on",
              "STATE_PAUSED, STATE_AWAITING_REVIEW, or STATE_FAILED for a reason that can pass", CanResume);
}

absl::StatusOr<v1::Job> JobVerbs::Retry(const v1::RetryJobRequest& request) {
  return GoOn(request, "RetryJob", "asked to try again",
              "STATE_CANCELLED, or STATE_FAILED for a reason that can pass", CanRetry);
}

template <class Request>
absl::StatusOr<v1::Job> JobVerbs::GoOn(const Request& request, const char* method, const char* event,
                                       const char* wanted, bool (*may)(const v1::JobRecord&)) {
  if (auto valid = Validate(request); !valid.ok()) return valid;
  auto before = place_.store->Read(request.name());
  if (!before.ok()) return before.status();
  const RequestKey key = KeyOf(request.name(), method, request);
  auto answered = place_.store->AnswerOf(key);
  if (!answered.ok()) return answered.status();
  if (answered->has_value()) return **answered;
  if (may(*before)) {
    if (auto owned = CheckOwnsStudent(before->job()); !owned.ok()) return owned;
    // Prompts that were given up are asked again. Harmless when the change below is refused.
    if (auto forgiven = ForgetFailures(before->job().uid()); !forgiven.ok()) return forgiven;
  }
  auto record = place_.store->Change(
      request.name(), event,
      [&](v1::JobRecord& stored) {
        if (auto newest = CheckEtag(stored.job(), request.etag()); !newest.ok()) return newest;
        if (!may(stored)) return WrongState(stored.job(), wanted);
        stored.set_failed_launches(0);
        Advance(stored, stored.stage(), StateOf(stored.stage()));
        return absl::OkStatus();
      },
      key);
  if (!record.ok()) return record.status();
  runner_.Add(request.name());
  return record->job();
}

// While a job had ended, another may have been given its student's name.
absl::Status JobVerbs::CheckOwnsStudent(const v1::Job& job) const {
  if (job.spec().student().name().empty()) return absl::OkStatus();
  const std::string student = ProjectOf(job.name()) + "/students/" + job.spec().student().name();
  auto owner = place_.store->JobOfStudent(student);
  if (!owner.ok()) return owner.status();
  if (*owner == job.name()) return absl::OkStatus();
  return WithReason(absl::AlreadyExistsError(student + " now belongs to " + *owner +
                                             "; create the job anew with another name for its student"),
                    ALREADY_EXISTS, {{"name", student}, {"job", *owner}});
}

absl::Status JobVerbs::ForgetFailures(const std::string& uid) {
  auto intents = place_.store->ReadIntents(uid);
  if (!intents.ok()) return intents.status();
  std::vector<std::pair<int32_t, v1::SampleIntent>> again;
  for (auto& [index, intent] : *intents) {
    if (intent.failure_reason().empty()) continue;
    intent.clear_failure_reason();
    again.emplace_back(index, intent);
  }
  return again.empty() ? absl::OkStatus() : place_.store->WriteIntents(uid, again);
}

absl::Status JobVerbs::Delete(const v1::DeleteJobRequest& request) {
  if (auto valid = Validate(request); !valid.ok()) return valid;
  const auto check = [&](const v1::JobRecord& stored) {
    if (auto newest = CheckEtag(stored.job(), request.etag()); !newest.ok()) return newest;
    if (!stored.job().student().empty())
      return WrongState(stored.job(), "a job without a released student, which is served from its job");
    if (!IsTerminal(stored.job().state()))
      return WrongState(stored.job(), "a job that has ended; cancel it first");
    return absl::OkStatus();
  };
  auto deleted = place_.store->Delete(request.name(), check, KeyOf(request.name(), "DeleteJob", request));
  if (absl::IsNotFound(deleted.status()) && request.allow_missing()) return absl::OkStatus();
  if (!deleted.ok()) return deleted.status();
  // The job is gone; files that cannot be removed now are only space, under a uid that nobody has again.
  std::error_code ignored;
  if (!deleted->empty()) std::filesystem::remove_all(place_.runs_dir / *deleted, ignored);
  return absl::OkStatus();
}

}  // namespace retort::jobs
