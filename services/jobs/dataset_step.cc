#include "services/jobs/dataset_step.h"

#include <set>

#include "ledger/statement.h"
#include "services/edge/status.h"
#include "services/jobs/request_id.h"
#include "services/jobs/wire.h"

namespace retort::jobs {
namespace {

using LedgerStub = ledger::v1::LedgerService::StubInterface;

// Nothing to train on: a person's review may change that, or nothing can.
absl::StatusOr<StepEnd> NothingAllowed(JobContext& job, const v1::JobRecord& record) {
  ledger::v1::CountSamplesRequest request;
  request.set_parent(job.project());
  request.set_job_uid(record.job().uid());
  auto counts = job.Ask("ledger", *job.place().peers->ledger, &LedgerStub::CountSamples, request);
  if (!counts.ok()) return counts.status();
  const std::string numbers = std::to_string(counts->asked()) +
                              " samples: " + std::to_string(counts->denied()) + " denied, " +
                              std::to_string(counts->review()) + " in review";
  if (counts->review() == 0) {
    return services::WithReason(absl::FailedPreconditionError("no sample may be trained on; " + numbers),
                                DATASET_EMPTY);
  }
  auto changed = job.Change("a person must decide", [&](v1::JobRecord& stored) {
    Advance(stored, v1::JobRecord::STAGE_DATASET, v1::Job::STATE_AWAITING_REVIEW);
    if (stored.job().state() != v1::Job::STATE_AWAITING_REVIEW) return;  // it is being cancelled or paused
    stored.mutable_job()->set_state_reason("POLICY_REVIEW");
    stored.mutable_job()->set_state_message("no sample may be trained on until a person decides; " + numbers);
  });
  if (!changed.ok()) return changed.status();
  return changed->job().state() == v1::Job::STATE_AWAITING_REVIEW ? StepEnd::kParked : StepEnd::kNext;
}

// Duties of samples that are in the dataset by another word than their own decision: extraction has collected
// those of decisions that allowed at once. Read after the dataset was frozen, so that none of its samples is
// left out; the union of equal duties is the release's.
absl::StatusOr<std::vector<v1::Obligation>> DutiesOfReviewed(JobContext& job, const v1::JobRecord& record) {
  std::vector<v1::Obligation> duties;
  std::set<std::string> known;
  for (const v1::Obligation& duty : record.obligations()) known.insert(duty.SerializeAsString());
  ledger::v1::ListJobSamplesRequest list;
  list.set_parent(job.name());
  list.set_job_uid(record.job().uid());
  list.set_page_size(1000);
  list.set_filter("standing = ADMITTED");
  do {
    auto page =
        job.Ask("ledger", *job.place().peers->ledger, &LedgerStub::ListJobSamples, list, kDatasetDeadline);
    if (!page.ok()) return page.status();
    for (const ledger::v1::Sample& sample : page->samples()) {
      if (sample.effect() == "allow" && sample.decision_entry() == sample.entry()) continue;
      ledger::v1::GetEntryRequest get;
      get.set_name(job.project() + "/ledgers/main/entries/" + std::to_string(sample.decision_entry()));
      auto entry = job.Ask("ledger", *job.place().peers->ledger, &LedgerStub::GetEntry, get);
      if (!entry.ok()) return entry.status();
      if (entry->statements().empty()) return absl::InternalError("the ledger's entry holds no statement");
      auto decision =
          ledger::DecisionStatement::Parse(entry->statements(entry->statements_size() - 1).statement());
      if (!decision.ok()) return absl::InternalError("the ledger's decision cannot be read");
      for (const auto& obligation : decision->obligations) {
        v1::Obligation duty = ToProto(obligation);
        if (known.insert(duty.SerializeAsString()).second) duties.push_back(std::move(duty));
      }
    }
    list.set_page_token(page->next_page_token());
  } while (!list.page_token().empty());
  return duties;
}

}  // namespace

absl::StatusOr<StepEnd> FreezeDataset(JobContext& job, const v1::JobRecord& record) {
  ledger::v1::CreateDatasetRequest request;
  request.set_parent(job.project());
  request.set_dataset_id(job.name().substr(job.name().rfind('/') + 1));
  request.set_job(job.name());
  request.set_job_uid(record.job().uid());
  request.set_request_id(MilestoneRequestId("dataset", record.job().uid()));
  auto entry =
      job.Ask("ledger", *job.place().peers->ledger, &LedgerStub::CreateDataset, request, kDatasetDeadline);
  if (!entry.ok()) {
    if (absl::IsFailedPrecondition(entry.status())) return NothingAllowed(job, record);
    return entry.status();
  }
  if (entry->statements_size() != 1)
    return absl::InternalError("the ledger's DATASET entry does not hold one statement");
  auto statement = ledger::DatasetStatement::Parse(entry->statements(0).statement());
  if (!statement.ok()) {
    return absl::InternalError("the ledger's DATASET statement cannot be read: " +
                               std::string(statement.status().message()));
  }
  auto duties = DutiesOfReviewed(job, record);
  if (!duties.ok()) return duties.status();
  const bool done = record.job().spec().extract_only();
  auto changed = job.Change("the dataset is frozen", [&](v1::JobRecord& stored) {
    stored.mutable_job()->mutable_entries()->set_dataset(entry->index());
    for (v1::Obligation& duty : *duties) *stored.add_obligations() = duty;
    stored.mutable_dataset()->set_train_samples(statement->train_samples);
    stored.mutable_dataset()->set_held_out_samples(statement->held_out_samples);
    stored.mutable_dataset()->set_excluded_samples(statement->excluded_samples);
    const auto stage = done ? v1::JobRecord::STAGE_DONE : v1::JobRecord::STAGE_TRAINING;
    Advance(stored, stage, StateOf(stage));
  });
  if (!changed.ok()) return changed.status();
  return StepEnd::kNext;
}

}  // namespace retort::jobs
