#include "student/parallel/layout.h"

#include <cassert>

namespace retort::student {

std::string Validate(const ParallelLayout& layout, int world, int experts, std::int64_t rows) {
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  if (layout.data < 1 || layout.data > kRanksMax) {
    return "data ranks: " + number(layout.data) + "; wanted 1 to " + number(kRanksMax);
  }
  if (layout.experts < 1 || layout.experts > kRanksMax) {
    return "expert ranks: " + number(layout.experts) + "; wanted 1 to " + number(kRanksMax);
  }
  if (layout.world() != world || world > kRanksMax) {
    return "processes: " + number(world) + "; wanted data ranks times expert ranks, " + number(layout.data) +
           " * " + number(layout.experts) + " = " + number(layout.world()) + ", at most " + number(kRanksMax);
  }
  if (experts % layout.experts != 0) {
    return "expert ranks: " + number(layout.experts) + "; wanted a divisor of the " + number(experts) +
           " routed experts";
  }
  if (rows < world || rows % world != 0) {
    return "rows of a step: " + number(rows) + "; wanted a multiple of the " + number(world) + " processes";
  }
  return "";
}

RowShare RowsOfRank(const RankPlace& place, std::int64_t rows) {
  assert(rows % place.layout.world() == 0);
  const std::int64_t each = rows / place.layout.world();
  return {place.rank * each, (place.rank + 1) * each};
}

ExpertShare ExpertsOfRank(const RankPlace& place, int experts) {
  assert(experts % place.layout.experts == 0);
  const int each = experts / place.layout.experts;
  return {place.expert_rank() * each, (place.expert_rank() + 1) * each};
}

}  // namespace retort::student
