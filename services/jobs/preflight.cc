#include "services/jobs/preflight.h"

#include "services/edge/status.h"
#include "services/jobs/wire.h"

namespace retort::jobs {
namespace {

using LedgerStub = ledger::v1::LedgerService::StubInterface;
using PolicyStub = policy::v1::PolicyService::StubInterface;
using TeacherStub = teacher::v1::TeacherService::StubInterface;

// Asks for the decision and stores it with the teacher that it is about: the same bytes are appended after a
// crash.
absl::StatusOr<v1::JobRecord> Decide(JobContext& job, const v1::JobRecord& record) {
  teacher::v1::GetTeacherRequest get;
  get.set_name(job.project() + "/teachers/" + record.job().spec().teacher());
  auto teacher = job.Ask("teacher", *job.place().peers->teacher, &TeacherStub::GetTeacher, get);
  if (!teacher.ok()) return teacher.status();
  policy::v1::DecideJobRequest request;
  request.set_job(job.name());
  request.set_job_uid(record.job().uid());
  *request.mutable_facts() = FactsOf(*teacher, record.job().spec(), "scripted", job.place().now());
  auto response = job.Ask("policy", *job.place().peers->policy, &PolicyStub::DecideJob, request);
  if (!response.ok()) return response.status();
  return job.Change("policy has decided", [&](v1::JobRecord& stored) {
    *stored.mutable_teacher() = *teacher;
    *stored.mutable_preflight() = ToProto(*response);
  });
}

absl::Status Refusal(const ledger::DecisionStatement& decision) {
  const bool denied = decision.effect == "deny";
  return services::WithReason(
      absl::FailedPreconditionError(
          (denied ? "policy denies this job: " : "policy asks for a review of this job: ") +
          Explain(decision) + "; nothing was sent to the teacher"),
      denied ? POLICY_DENIED : POLICY_REVIEW);
}

}  // namespace

absl::StatusOr<StepEnd> Preflight(JobContext& job, const v1::JobRecord& read) {
  v1::JobRecord record = read;
  if (!record.has_preflight()) {
    auto decided = Decide(job, record);
    if (!decided.ok()) return decided.status();
    record = *std::move(decided);
  }
  auto decision = ledger::DecisionStatement::Parse(record.preflight().statement());
  if (!decision.ok()) {
    return absl::InternalError("the policy service's decision cannot be read: " +
                               std::string(decision.status().message()));
  }
  std::string_view asked;
  auto registered = CallUntilAnswered<bool>(
      job.stop(), StopSignal::Kind::kCancel, job.place().patience.pauses,
      [&](const absl::Status& status) { job.Waiting(asked, status); },
      [&]() -> absl::StatusOr<bool> {
        if (auto status = job.place().packs->Ensure(job.stop(), job.project(), decision->packs, &asked);
            !status.ok()) {
          return status;
        }
        return true;
      });
  if (!registered.ok()) return registered.status();
  ledger::v1::AppendEntryRequest append;
  append.set_parent(job.project());
  append.set_kind(ledger::v1::ENTRY_KIND_DECISION);
  *append.add_statements() = record.preflight();
  auto entry = job.Ask("ledger", *job.place().peers->ledger, &LedgerStub::AppendEntry, append);
  if (!entry.ok()) return entry.status();
  const bool allowed = decision->effect == "allow";
  auto changed =
      job.Change(allowed ? "policy allows the job" : "policy refuses the job", [&](v1::JobRecord& stored) {
        stored.mutable_job()->mutable_entries()->set_preflight(entry->index());
        if (allowed) {
          for (const auto& obligation : decision->obligations)
            *stored.add_obligations() = ToProto(obligation);
          Advance(stored, v1::JobRecord::STAGE_EXTRACTION, v1::Job::STATE_EXTRACTING);
        } else {
          auto* progress = stored.mutable_job()->mutable_progress();
          progress->set_samples_refused_before_sending(progress->samples_total());
        }
      });
  if (!changed.ok()) return changed.status();
  if (!allowed) return Refusal(*decision);
  return StepEnd::kNext;
}

}  // namespace retort::jobs
