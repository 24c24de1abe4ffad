// What stands about samples: decisions, reviews and erasures, from the index.
#include <utility>

#include "ledger/internal/log_impl.h"
#include "ledger/internal/store.h"

namespace retort::ledger {

using internal::Effect;
using internal::Family;
using internal::FromBigEndian;
using internal::SampleRow;

absl::StatusOr<SampleStanding> Log::Impl::StandingAt(uint64_t index, const SampleRow& row,
                                                     uint64_t size) const {
  SampleStanding now{
      .entry = index, .own_effect = std::string(EffectName(row.effect)), .decision_entry = index};
  now.effect = now.own_effect;
  const auto erased = store_->Get(Family::kIndex, internal::ErasureKey(index));
  if (!erased.ok()) return erased.status();
  if (erased->has_value()) {
    if ((*erased)->size() != sizeof(uint64_t)) return absl::DataLossError("erasure index row is malformed");
    if (const uint64_t at = FromBigEndian(**erased); at < size) now.erasure_entry = at;
  }
  // The newest before `size` counts, of decisions and then of reviews of that decision.
  const auto last = [&](const std::string& prefix,
                        const std::function<bool(uint64_t, std::string_view)>& take) {
    bool well_formed = true;
    absl::Status scanned =
        store_->Scan(Family::kIndex, prefix, "", [&](std::string_view key, std::string_view value) {
          const uint64_t at = FromBigEndian(key.substr(prefix.size()));
          if (at >= size) return false;
          return well_formed = value.size() == 1 && take(at, value);
        });
    return well_formed ? scanned : absl::DataLossError("decision or review index row is malformed");
  };
  absl::Status status =
      last(internal::LaterDecisionPrefix(row.subject), [&](uint64_t at, std::string_view value) {
        if (value[0] < 1 || value[0] > 3) return false;
        now.decision_entry = at;
        now.effect = EffectName(static_cast<Effect>(value[0]));
        return true;
      });
  if (!status.ok()) return status;
  status = last(internal::ReviewPrefix(now.decision_entry), [&](uint64_t at, std::string_view value) {
    now.review_entry = at;
    now.verdict = value == "a" ? "approve" : "reject";
    return value == "a" || value == "r";
  });
  if (!status.ok()) return status;
  now.standing =
      ledger::StandingOf(SampleFacts{now.own_effect, now.effect, now.verdict, now.erasure_entry.has_value()});
  return now;
}

absl::StatusOr<SampleStanding> Log::StandingOf(uint64_t sample_entry, std::string_view job_uid,
                                               uint64_t size) const {
  const auto row = impl_->store().Get(Family::kIndex, internal::SampleKey(job_uid, sample_entry));
  if (!row.ok()) return row.status();
  if (!row->has_value() || sample_entry >= size) {
    return absl::NotFoundError("entry " + std::to_string(sample_entry) + " is no sample of this job");
  }
  const absl::StatusOr<SampleRow> sample = SampleRow::Decode(**row);
  if (!sample.ok()) return sample.status();
  return impl_->StandingAt(sample_entry, *sample, size);
}

absl::Status Log::ForEachSample(std::string_view job_uid, uint64_t first, uint64_t size,
                                const std::function<absl::Status(const SampleStanding&)>& visit) const {
  return impl_->ForEachSample(
      job_uid, first, size, [&](uint64_t index, const SampleRow& row) -> absl::Status {
        const absl::StatusOr<SampleStanding> now = impl_->StandingAt(index, row, size);
        return now.ok() ? visit(*now) : now.status();
      });
}

absl::StatusOr<SampleCounts> Log::CountSamples(std::string_view job_uid) const {
  SampleCounts counts;
  const uint64_t size = impl_->Current()->tree.size();
  absl::Status status =
      impl_->ForEachSample(job_uid, 0, size, [&](uint64_t index, const SampleRow& row) -> absl::Status {
        ++counts.asked;
        if (row.attempt > 1) ++counts.repeats;
        const absl::StatusOr<SampleStanding> now = impl_->StandingAt(index, row, size);
        if (!now.ok()) return now.status();
        switch (now->standing) {
          case Standing::kAdmitted:
            ++counts.allowed;
            break;
          case Standing::kInReview:
            ++counts.review;
            break;
          case Standing::kDenied:
          case Standing::kRejected:
          case Standing::kErased:
            ++counts.denied;
            break;
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return counts;
}

}  // namespace retort::ledger
