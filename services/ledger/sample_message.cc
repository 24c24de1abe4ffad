#include "services/ledger/sample_message.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <charconv>

#include "ledger/statement.h"
#include "services/edge/status.h"

namespace retort::services {
namespace {

using google::protobuf::util::TimeUtil;
using SampleProto = ledger::v1::Sample;

SampleProto::Standing StandingProto(ledger::Standing standing) {
  switch (standing) {
    case ledger::Standing::kAdmitted:
      return SampleProto::STANDING_ADMITTED;
    case ledger::Standing::kInReview:
      return SampleProto::STANDING_IN_REVIEW;
    case ledger::Standing::kDenied:
      return SampleProto::STANDING_DENIED;
    case ledger::Standing::kRejected:
      return SampleProto::STANDING_REJECTED;
    case ledger::Standing::kErased:
      return SampleProto::STANDING_ERASED;
  }
  return SampleProto::STANDING_UNSPECIFIED;
}

absl::Status Unreadable(uint64_t entry) {
  return absl::DataLossError("a statement of entry " + std::to_string(entry) + " cannot be read");
}

absl::Status FillReview(const ledger::Log& log, uint64_t index, ledger::v1::Review* review) {
  const auto entry = log.ReadEntry(index);
  if (!entry.ok()) return entry.status();
  const auto statement = ledger::ReviewStatement::Parse(entry->entry.statements.front().statement);
  if (!statement.ok() || !TimeUtil::FromString(statement->reviewed_time, review->mutable_review_time()))
    return Unreadable(index);
  review->set_entry(static_cast<int64_t>(index));
  review->set_verdict(statement->verdict);
  review->set_reviewer(statement->reviewer);
  review->set_reason(statement->reason);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> SampleEntryOf(std::string_view field, const std::string& sample_id) {
  uint64_t index = 0;
  const char* end = sample_id.data() + sample_id.size();
  const bool led =
      sample_id.size() > 1 && sample_id[0] == 's' && (sample_id[1] != '0' || sample_id.size() == 2);
  const auto [stop, error] = std::from_chars(sample_id.data() + (led ? 1 : 0), end, index);
  if (!led || error != std::errc() || stop != end || index > static_cast<uint64_t>(INT64_MAX)) {
    return InvalidField(field, sample_id, "s and the index of an entry, for example s57");
  }
  return index;
}

absl::StatusOr<SampleProto> SampleMessage(const ledger::Log& log, const std::string& job,
                                          const std::string& job_uid,
                                          const ledger::SampleStanding& standing) {
  const auto stored = log.ReadEntry(standing.entry);
  if (!stored.ok()) return stored.status();
  const auto capture = ledger::CaptureStatement::Parse(stored->entry.statements.front().statement);
  if (!capture.ok()) return Unreadable(standing.entry);
  auto decided = stored->entry.statements.back().statement;
  if (standing.decision_entry != standing.entry) {
    const auto later = log.ReadEntry(standing.decision_entry);
    if (!later.ok()) return later.status();
    decided = later->entry.statements.back().statement;
  }
  const auto decision = ledger::DecisionStatement::Parse(decided);
  if (!decision.ok()) return Unreadable(standing.decision_entry);

  SampleProto sample;
  sample.set_name(job + "/samples/s" + std::to_string(standing.entry));
  sample.set_uid(capture->request_id);
  *sample.mutable_create_time() = TimeUtil::MicrosecondsToTimestamp(stored->entry.time_us);
  sample.set_entry(static_cast<int64_t>(standing.entry));
  sample.set_prompt_id(capture->prompt_id);
  sample.set_split(capture->split);
  sample.set_attempt(static_cast<int32_t>(capture->attempt));
  sample.set_standing(StandingProto(standing.standing));
  sample.set_effect(standing.effect);
  sample.set_decision_entry(static_cast<int64_t>(standing.decision_entry));
  for (const ledger::MatchedRule& rule : decision->rules) {
    auto* row = sample.add_rules();
    row->set_pack(rule.pack);
    row->set_rule(rule.rule);
    row->set_effect(rule.effect);
    row->set_clause(rule.clause);
  }
  for (const std::string& input : decision->missing_inputs) sample.add_missing_inputs(input);
  if (standing.review_entry.has_value()) {
    if (auto s = FillReview(log, *standing.review_entry, sample.mutable_review()); !s.ok()) return s;
  }
  sample.set_job_uid(job_uid);
  sample.set_erasure_entry(standing.erasure_entry.has_value() ? static_cast<int64_t>(*standing.erasure_entry)
                                                              : -1);
  // The newest entry that says something about it.
  const uint64_t newest = std::max(
      {standing.decision_entry, standing.review_entry.value_or(0), standing.erasure_entry.value_or(0)});
  sample.set_etag("\"" + std::to_string(newest) + "\"");
  return sample;
}

}  // namespace retort::services
