#include "services/jobs/ask.h"

#include "ledger/digest.h"
#include "ledger/uuid.h"
#include "services/edge/request_hash.h"
#include "services/edge/status.h"
#include "services/jobs/request_id.h"
#include "services/jobs/sample.h"
#include "services/jobs/wire.h"

namespace retort::jobs {
namespace {

using LedgerStub = ledger::v1::LedgerService::StubInterface;
using PolicyStub = policy::v1::PolicyService::StubInterface;
using TeacherStub = teacher::v1::TeacherService::StubInterface;

std::string UidOf(const std::string& project, const std::string& request_id) {
  if (request_id.empty()) return RandomUuid();
  return ledger::UuidFromDigest(ledger::Sha256("retort/ask/v1\n" + project + "\n" + request_id));
}

// The newest attempt that was begun for this uid, and the entry of whichever is in the ledger; -1 without
// one.
struct Earlier {
  int32_t attempt = 0;
  int64_t entry = -1;
};

absl::StatusOr<Earlier> FindEarlier(Workplace& place, StopSignal& stop, const std::string& project,
                                    const std::string& uid) {
  Earlier earlier;
  auto intents = place.store->ReadIntents(uid);
  if (!intents.ok()) return intents.status();
  if (intents->empty()) return earlier;
  earlier.attempt = intents->front().second.attempt();
  ledger::v1::LookupRequestsRequest lookup;
  lookup.set_parent(project);
  for (int32_t attempt = 1; attempt <= earlier.attempt; ++attempt) {
    lookup.add_request_ids(ledger::SampleRequestId(uid, 0, attempt));
  }
  auto found = CallOnce(stop, *place.peers->ledger, &LedgerStub::LookupRequests, lookup);
  if (!found.ok()) return found.status();
  if (!found->entries().empty()) earlier.entry = found->entries().begin()->second;
  return earlier;
}

}  // namespace

absl::StatusOr<v1::AskTeacherResponse> Asker::Ask(const v1::AskTeacherRequest& request, StopSignal& stop,
                                                  const std::function<bool()>& given_up) {
  const std::string project = request.teacher().substr(0, request.teacher().find("/teachers/"));
  const std::string job = project + "/jobs/" + kAskJobId;
  const std::string uid = UidOf(project, request.request_id());
  const RequestKey key{project, "AskTeacher", request.request_id(), services::RequestHash(request)};
  if (auto answered = place_.store->AnswerOf(key); !answered.ok()) return answered.status();
  {
    std::lock_guard lock(mutex_);
    if (const auto kept = answers_.find(uid); kept != answers_.end()) return kept->second;
  }
  auto earlier = FindEarlier(place_, stop, project, uid);
  if (!earlier.ok()) return earlier.status();
  if (earlier->entry >= 0) {
    return absl::FailedPreconditionError("request_id: " + request.request_id() + " was answered as entry " +
                                         std::to_string(earlier->entry) +
                                         "; its text is no longer held here, ask with a new request id");
  }

  teacher::v1::GetTeacherRequest get;
  get.set_name(request.teacher());
  auto teacher = CallOnce(stop, *place_.peers->teacher, &TeacherStub::GetTeacher, get);
  if (!teacher.ok()) return teacher.status();
  const policy::v1::Facts facts = FactsOf(*teacher, v1::JobSpec(), "interactive", place_.now());
  if (auto allowed = Preflight(project, uid, facts, stop); !allowed.ok()) return allowed;

  v1::SampleIntent intent;
  intent.set_attempt(earlier->attempt + 1);
  if (auto written = place_.store->WriteIntents(uid, {{0, intent}}, key); !written.ok()) return written;
  teacher::v1::ExtractRequest extract;
  extract.set_teacher(request.teacher());
  extract.mutable_key()->set_job(job);
  extract.mutable_key()->set_job_uid(uid);
  extract.mutable_key()->set_prompt_id("question");
  extract.mutable_key()->set_index(0);
  extract.mutable_key()->set_attempt(intent.attempt());
  extract.mutable_key()->set_split("train");
  *extract.mutable_messages() = request.messages();
  *extract.mutable_sampling() = request.sampling();
  auto answer = CallOnce(stop, *place_.peers->teacher, &TeacherStub::Extract, extract, kExtractDeadline);
  if (!answer.ok()) return answer.status();

  RecordOptions options;
  options.project = project;
  options.pauses = place_.patience.pauses;
  options.waiting = [&](std::string_view, const absl::Status&) {
    if (given_up()) stop.Raise(StopSignal::Kind::kShutdown);
  };
  auto recorded = Record(*place_.peers, *place_.packs, stop, *answer, facts, options);
  if (!recorded.ok()) return recorded.status();
  teacher::v1::SamplePayload payload;
  auto capture = ledger::CaptureStatement::Parse(answer->capture());
  if (!capture.ok() || !payload.ParseFromString(answer->payload())) {
    return absl::InternalError("the teacher service's answer cannot be read");
  }
  v1::AskTeacherResponse response;
  response.set_completion(payload.completion());
  response.set_entry(recorded->entry);
  response.set_effect(recorded->effect);
  response.set_finish_reason(capture->finish_reason);
  response.set_completion_tokens(answer->completion_tokens());
  if (!request.request_id().empty()) Keep(uid, response);
  return response;
}

absl::Status Asker::Preflight(const std::string& project, const std::string& uid,
                              const policy::v1::Facts& facts, StopSignal& stop) {
  policy::v1::DecideJobRequest decide;
  decide.set_job(project + "/jobs/" + kAskJobId);
  decide.set_job_uid(uid);
  *decide.mutable_facts() = facts;
  auto decided = CallOnce(stop, *place_.peers->policy, &PolicyStub::DecideJob, decide);
  if (!decided.ok()) return decided.status();
  auto decision = ledger::DecisionStatement::Parse(decided->decision());
  if (!decision.ok()) return absl::InternalError("the policy service's decision cannot be read");
  if (auto status = place_.packs->Ensure(stop, project, decision->packs); !status.ok()) return status;
  ledger::v1::AppendEntryRequest append;
  append.set_parent(project);
  append.set_kind(ledger::v1::ENTRY_KIND_DECISION);
  *append.add_statements() = ToProto(*decided);
  auto entry = CallOnce(stop, *place_.peers->ledger, &LedgerStub::AppendEntry, append);
  // A repeat of this request was decided about before; that decision stands in the log beside this equal one.
  if (!entry.ok() && services::ReasonOf(entry.status()) != REQUEST_ID_REUSED) return entry.status();
  if (decision->effect != "deny") return absl::OkStatus();
  return services::WithReason(absl::FailedPreconditionError("policy denies asking this teacher: " +
                                                            Explain(*decision) + "; nothing was sent to it"),
                              POLICY_DENIED);
}

void Asker::Keep(const std::string& uid, const v1::AskTeacherResponse& answer) {
  std::lock_guard lock(mutex_);
  if (!answers_.emplace(uid, answer).second) return;
  order_.push_back(uid);
  if (order_.size() <= kAnswersKept) return;
  answers_.erase(order_.front());
  order_.pop_front();
}

}  // namespace retort::jobs
