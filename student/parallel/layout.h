// How the processes of one training run share the work: world = data * experts ranks.
//
// Every rank takes an equal share of the rows of a step, in rank order. The routed experts are split over
// `experts` neighbouring ranks (an expert group); tokens travel to the owner of their expert and back. Ranks
// that own the same experts form a data group: `data` of them, one in each expert group. Everything that is
// not a routed expert is held by all.
//
//   rank = data_rank * experts + expert_rank
//
//            expert_rank 0   expert_rank 1
//   data 0       rank 0          rank 1       <- one expert group: together they own every expert
//   data 1       rank 2          rank 3
//                  ^ one data group: the same experts
//
// Neighbours share a machine in every launcher, so the tokens' all-to-all stays on the fast links.
// Plain values; free to cross threads.
#ifndef STUDENT_PARALLEL_LAYOUT_H_
#define STUDENT_PARALLEL_LAYOUT_H_

#include <cstdint>
#include <string>

namespace retort::student {

// Most ranks of one run.
inline constexpr int kRanksMax = 256;

struct ParallelLayout {
  int data = 1;
  int experts = 1;

  int world() const { return data * experts; }
  bool operator==(const ParallelLayout&) const = default;
};

// One rank of a layout.
struct RankPlace {
  ParallelLayout layout;
  int rank = 0;

  int data_rank() const { return rank / layout.experts; }
  int expert_rank() const { return rank % layout.experts; }
  bool alone() const { return layout.world() == 1; }
};

// The empty string when `layout` can train a model with `experts` routed experts in steps of `rows` rows on
// `world` processes; otherwise one sentence with the field, the value seen and the value wanted: data and
// experts at least 1, data * experts = world, world at most kRanksMax, layout.experts divides the experts,
// and world divides the rows (so that every rank has work of the same size in every step).
std::string Validate(const ParallelLayout& layout, int world, int experts, std::int64_t rows);

// The rows [begin, end) of a step of `rows` rows that a rank takes. Consecutive, in rank order, all of one
// length.
struct RowShare {
  std::int64_t begin = 0, end = 0;
};
RowShare RowsOfRank(const RankPlace& place, std::int64_t rows);

// The routed experts [begin, end) that a rank owns.
struct ExpertShare {
  int begin = 0, end = 0;
};
ExpertShare ExpertsOfRank(const RankPlace& place, int experts);

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_LAYOUT_H_
