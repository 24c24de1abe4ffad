#include "services/jobs/sample_reviews.h"

#include "ledger/statement.h"
#include "services/edge/status.h"
#include "services/identity/separation.h"
#include "services/jobs/request_id.h"
#include "services/jobs/validate.h"

namespace retort::jobs {
namespace {

using LedgerStub = ledger::v1::LedgerService::StubInterface;
using PolicyStub = policy::v1::PolicyService::StubInterface;
using services::WithReason;

std::string ProjectOfSample(const std::string& name) {
  return name.substr(0, name.find("/jobs/"));
}

absl::Status NotInReview(const ledger::v1::Sample& sample) {
  const std::string standing = ledger::v1::Sample::Standing_Name(sample.standing());
  return WithReason(
      absl::FailedPreconditionError(sample.name() + " is " + standing + ", its newest decision is " +
                                    sample.effect() + "; wanted one that asks for a review"),
      SAMPLE_NOT_IN_REVIEW, {{"name", sample.name()}, {"standing", standing}});
}

}  // namespace

absl::StatusOr<ledger::v1::Sample> SampleReviews::Review(const ReviewCall& call) {
  if (auto valid = ValidateReview(call.name, call.reason, call.request_id); !valid.ok()) return valid;
  auto record = place_.store->Read(call.name.substr(0, call.name.find("/samples/")));
  if (!record.ok()) return record.status();
  const v1::Job& job = record->job();
  if (auto apart = services::CheckMayReview(call.reviewer, job.submitter(), job.name()); !apart.ok())
    return apart;
  std::lock_guard lock(mutex_);
  return Enter(call, job, call.request_id.empty() ? RandomUuid() : call.request_id);
}

absl::StatusOr<ledger::v1::Sample> SampleReviews::Enter(const ReviewCall& call, const v1::Job& job,
                                                        const std::string& request_id) {
  StopSignal stop;
  auto& ledger_stub = *place_.peers->ledger;
  ledger::v1::GetJobSampleRequest get;
  get.set_name(call.name);
  get.set_job_uid(job.uid());
  auto sample = CallOnce(stop, ledger_stub, &LedgerStub::GetJobSample, get, call.left());
  if (!sample.ok()) return sample.status();

  // A repeat finds its entry: the ledger stores the request id with the effect.
  ledger::v1::LookupRequestsRequest lookup;
  lookup.set_parent(ProjectOfSample(call.name));
  lookup.add_request_ids(request_id);
  auto known = CallOnce(stop, ledger_stub, &LedgerStub::LookupRequests, lookup, call.left());
  if (!known.ok()) return known.status();
  if (const auto found = known->entries().find(request_id); found != known->entries().end()) {
    ledger::v1::GetEntryRequest entry_request;
    entry_request.set_name(ProjectOfSample(call.name) + "/ledgers/main/entries/" +
                           std::to_string(found->second));
    auto entry = CallOnce(stop, ledger_stub, &LedgerStub::GetEntry, entry_request, call.left());
    if (!entry.ok()) return entry.status();
    const auto first = entry->kind() == ledger::v1::ENTRY_KIND_REVIEW && entry->statements_size() == 1
                           ? ledger::ReviewStatement::Parse(entry->statements(0).statement())
                           : absl::InvalidArgumentError("another kind of entry");
    if (first.ok() && first->subject_entry == sample->decision_entry() && first->verdict == call.verdict &&
        first->reason == call.reason && first->reviewer == call.reviewer) {
      return sample;
    }
    return WithReason(
        absl::InvalidArgumentError("request_id: " + request_id + " was used before with another body"),
        REQUEST_ID_REUSED, {{"request_id", request_id}});
  }
  if (!call.etag.empty() && call.etag != sample->etag()) {
    return WithReason(
        absl::AbortedError("etag: saw " + call.etag.substr(0, 64) + ", the newest is " + sample->etag()),
        ETAG_MISMATCH, {{"etag", sample->etag()}});
  }
  if (sample->effect() != "review" || sample->standing() == ledger::v1::Sample::STANDING_DENIED ||
      sample->standing() == ledger::v1::Sample::STANDING_ERASED) {
    return NotInReview(*sample);
  }

  ledger::v1::GetEntryRequest decided_request;
  decided_request.set_name(ProjectOfSample(call.name) + "/ledgers/main/entries/" +
                           std::to_string(sample->decision_entry()));
  auto decided = CallOnce(stop, ledger_stub, &LedgerStub::GetEntry, decided_request, call.left());
  if (!decided.ok()) return decided.status();
  policy::v1::SignReviewRequest sign;
  sign.set_parent(ProjectOfSample(call.name));
  sign.set_subject_entry(sample->decision_entry());
  sign.set_decision(decided->statements(decided->statements_size() - 1).statement());
  sign.set_verdict(call.verdict);
  sign.set_reviewer(call.reviewer);
  sign.set_reason(call.reason);
  sign.set_request_id(request_id);
  auto review = CallOnce(stop, *place_.peers->policy, &PolicyStub::SignReview, sign, call.left());
  if (!review.ok()) return review.status();
  ledger::v1::AppendEntryRequest append;
  append.set_parent(ProjectOfSample(call.name));
  append.set_kind(ledger::v1::ENTRY_KIND_REVIEW);
  auto* statement = append.add_statements();
  statement->set_statement(review->review());
  statement->set_signature(review->signature());
  statement->set_key_id(review->key_id());
  auto entry = CallOnce(stop, ledger_stub, &LedgerStub::AppendEntry, append, call.left());
  if (!entry.ok()) return entry.status();
  return CallOnce(stop, ledger_stub, &LedgerStub::GetJobSample, get, call.left());
}

}  // namespace retort::jobs
