// Carries tokens to the ranks that own their experts, and results back.
//
// A rank's slots (student/ops/dispatch.h) are sorted by expert, and each rank owns consecutive experts, so
// what goes to one owner lies side by side and is sent as it is. The owner gets rows sorted by (source rank,
// expert, token) and puts them in the order (expert, source rank, token): one segment per expert for the
// grouped matrix product, in an order that depends on the routing alone. Results return the same way into the
// source's slots, so GatherSum and the router's backward pass do not know that anything travelled.
//
//   exchange.Plan(offsets, &plan);                             // once per forward; the backward pass reuses
//   it exchange.ToOwners(plan, slot_rows, hidden, staging, owned);  // then the experts on owned, by
//   plan.offsets exchange.ToSources(plan, owned, hidden, staging, slot_rows);
//
// Dropless: no capacity, no padding. At most size() times the slots of one rank can arrive, which is what
// buffers are planned for. Plan waits for the other ranks; the rest is queued on the backend's stream.
// Failure as in collectives.h: a failed Plan has no rows.
#ifndef STUDENT_PARALLEL_EXPERT_EXCHANGE_H_
#define STUDENT_PARALLEL_EXPERT_EXCHANGE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "student/device/backend.h"
#include "student/parallel/collectives.h"

namespace retort::student {

struct ExchangePlan {
  std::vector<Part> sends, receives;  // rows, by rank of the expert group
  std::vector<std::int32_t>
      offsets;  // [own experts + 1]: rows of own expert e are offsets[e] .. offsets[e + 1]
  // In the backend's memory, made by the caller with room for the most rows that can arrive: place of each
  // row, in owned order, among the rows as they arrived; and the inverse.
  std::int32_t* arrival = nullptr;
  std::int32_t* departure = nullptr;

  std::int64_t owned_rows() const { return offsets.empty() ? 0 : offsets.back(); }
};

class ExpertExchange {
 public:
  // `group` is World::experts(). Both must outlive this; group.size() divides `experts` (asserted).
  ExpertExchange(Collectives& group, Backend& backend, int experts);

  int size() const { return group_.size(); }
  int first_expert() const { return group_.rank() * own_experts_; }
  int own_experts() const { return own_experts_; }

  // Tells the others how many rows each expert gets from here: offsets [experts + 1] on the host.
  bool Plan(std::span<const std::int32_t> offsets, ExchangePlan* plan);
  // slots [own slots, n] in slot order -> owned [plan.owned_rows(), n] in owned order. staging has room for
  // as many rows as owned, and is of the same type.
  bool ToOwners(const ExchangePlan& plan, Values slots, int n, Values staging, Values owned);
  // The way back.
  bool ToSources(const ExchangePlan& plan, Values owned, int n, Values staging, Values slots);

 private:
  std::span<const Part> InBytes(const std::vector<Part>& rows, std::int64_t row_bytes,
                                std::vector<Part>* bytes);

  Collectives& group_;
  Backend& backend_;
  const int own_experts_;
  std::vector<std::int64_t> mine_, counts_;  // rows per expert, of this rank and of all
  std::vector<std::int32_t> arrival_, departure_;
  std::vector<Part> send_bytes_, receive_bytes_;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_EXPERT_EXCHANGE_H_
