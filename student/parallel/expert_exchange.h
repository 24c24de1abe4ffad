// Carries tokens to the ranks that own their experts, and results back.
//
// A rank's slots (student/ops/dispatch.h) are sorted by expert, and each rank owns consecutive experts, so
// what goes to one owner lies side by side and is sent without a copy of the order. The owner gets rows
// sorted by (source rank, expert, token) and puts them in the order (expert, source rank, token): one segment
// per expert for the grouped matrix product, in an order that depends on the routing alone. Results return
// the same way into the source's slots, so GatherSum and the router's backward pass do not know that anything
// travelled.
//
//   ExchangePlan plan;
//   exchange.Plan(dispatch, &plan);                          // once per forward; the backward pass reuses it
//   exchange.ToOwners(plan, slot_rows, hidden, owned_rows);  // then: experts on owned_rows, plan.offsets
//   exchange.ToSources(plan, owned_rows, hidden, slot_rows);
//
// Dropless: no capacity, no padding. Failure as in collectives.h: a failed Plan has no rows.
#ifndef STUDENT_PARALLEL_EXPERT_EXCHANGE_H_
#define STUDENT_PARALLEL_EXPERT_EXCHANGE_H_

#include <cstdint>
#include <vector>

#include "student/ops/dispatch.h"
#include "student/parallel/collectives.h"
#include "student/tensor/buffer.h"

namespace retort::student {

struct ExchangePlan {
  std::vector<Part> sends, receives;  // rows, by rank of the expert group
  std::vector<std::int32_t>
      offsets;  // [own experts + 1]: rows of own expert e are offsets[e] .. offsets[e+1]
  std::vector<std::int32_t>
      arrival;  // [owned rows]: place of row i, in owned order, among the rows as received

  std::int64_t sent_rows() const { return sends.empty() ? 0 : sends.back().end; }
  std::int64_t owned_rows() const { return static_cast<std::int64_t>(arrival.size()); }
};

class ExpertExchange {
 public:
  // `group` is World::experts() and must outlive this; its size divides `experts` (asserted).
  ExpertExchange(Collectives& group, int experts);

  int first_expert() const { return group_.rank() * own_experts_; }
  int own_experts() const { return own_experts_; }

  // Exchanges how many rows of each expert each rank has.
  bool Plan(const Dispatch& dispatch, ExchangePlan* plan);
  // slots [sent_rows, n] in slot order -> owned [owned_rows, n] in owned order. Host memory.
  bool ToOwners(const ExchangePlan& plan, const float* slots, int n, float* owned);
  // The way back.
  bool ToSources(const ExchangePlan& plan, const float* owned, int n, float* slots);

 private:
  Collectives& group_;
  const int own_experts_;
  Buffer staging_;  // rows in the order of arrival
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_EXPERT_EXCHANGE_H_
