#include "student/parallel/expert_exchange.h"

#include <cassert>

namespace retort::student {

ExpertExchange::ExpertExchange(Collectives& group, Backend& backend, int experts)
    : group_(group),
      backend_(backend),
      own_experts_(experts / group.size()),
      mine_(experts),
      counts_(static_cast<std::size_t>(experts) * group.size()) {
  assert(own_experts_ * group.size() == experts);
}

bool ExpertExchange::Plan(std::span<const std::int32_t> offsets, ExchangePlan* plan) {
  const int size = group_.size(), experts = own_experts_ * size, first = first_expert();
  assert(static_cast<int>(offsets.size()) == experts + 1);
  for (int e = 0; e < experts; ++e) mine_[e] = offsets[e + 1] - offsets[e];
  const bool ok = group_.AllGatherHost(mine_, counts_);
  if (!ok) counts_.assign(counts_.size(), 0);
  const auto count = [&](int source, int own) {
    return counts_[static_cast<std::size_t>(source) * experts + first + own];
  };

  plan->sends.clear();
  plan->receives.clear();
  plan->offsets.assign(1, 0);
  std::int64_t arrived = 0;
  for (int r = 0; r < size; ++r) {
    const Part rows = {offsets[r * own_experts_], offsets[(r + 1) * own_experts_]};
    plan->sends.push_back(ok ? rows : Part{});
    const std::int64_t begin = arrived;
    for (int e = 0; e < own_experts_; ++e) arrived += count(r, e);
    plan->receives.push_back({begin, arrived});
  }
  // Where rows of (source, expert) begin among those that arrive.
  arrival_.clear();
  departure_.resize(static_cast<std::size_t>(arrived));
  std::vector<std::int64_t> next(size);
  for (int r = 0; r < size; ++r) next[r] = plan->receives[r].begin;
  for (int e = 0; e < own_experts_; ++e) {
    for (int r = 0; r < size; ++r) {
      for (std::int64_t i = 0; i < count(r, e); ++i) {
        departure_[static_cast<std::size_t>(next[r])] = static_cast<std::int32_t>(arrival_.size());
        arrival_.push_back(static_cast<std::int32_t>(next[r]++));
      }
    }
    plan->offsets.push_back(static_cast<std::int32_t>(arrival_.size()));
  }
  const auto bytes = static_cast<std::int64_t>(arrival_.size() * sizeof(std::int32_t));
  backend_.Upload(arrival_.data(), bytes, plan->arrival);
  backend_.Upload(departure_.data(), bytes, plan->departure);
  return ok;
}

std::span<const Part> ExpertExchange::InBytes(const std::vector<Part>& rows, std::int64_t row_bytes,
                                              std::vector<Part>* bytes) {
  bytes->clear();
  for (const Part& part : rows) bytes->push_back({part.begin * row_bytes, part.end * row_bytes});
  return *bytes;
}

bool ExpertExchange::ToOwners(const ExchangePlan& plan, Values slots, int n, Values staging, Values owned) {
  const std::int64_t row = n * BytesOf(slots.element);
  const bool ok = group_.AllToAll(slots.data, InBytes(plan.sends, row, &send_bytes_), staging.data,
                                  InBytes(plan.receives, row, &receive_bytes_), backend_.stream());
  backend_.GatherRows(staging, plan.arrival, plan.owned_rows(), n, owned);
  return ok;
}

bool ExpertExchange::ToSources(const ExchangePlan& plan, Values owned, int n, Values staging, Values slots) {
  backend_.GatherRows(owned, plan.departure, plan.owned_rows(), n, staging);
  const std::int64_t row = n * BytesOf(owned.element);
  return group_.AllToAll(staging.data, InBytes(plan.receives, row, &receive_bytes_), slots.data,
                         InBytes(plan.sends, row, &send_bytes_), backend_.stream());
}

}  // namespace retort::student
