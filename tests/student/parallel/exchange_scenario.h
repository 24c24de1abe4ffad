// Every call of a Collectives with values that tell what is wrong, over any implementation: Array makes an
// array of floats in the memory that it works on, and reads it back.
#ifndef TESTS_STUDENT_PARALLEL_EXCHANGE_SCENARIO_H_
#define TESTS_STUDENT_PARALLEL_EXCHANGE_SCENARIO_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <span>
#include <vector>

#include "student/parallel/collectives.h"

namespace retort::student {

inline int failures = 0;

inline void Expect(bool condition, const char* what) {
  if (condition) return;
  std::printf("not as expected: %s\n", what);
  ++failures;
}

inline float Value(int rank, std::int64_t i) {
  return static_cast<float>(std::sin(static_cast<double>(rank * 7919 + i)) *
                            std::pow(10.0, static_cast<double>(i % 9)));
}

// Uneven parts, one of them empty when there are several; or even ones.
inline std::vector<Part> PartsOf(int size, std::int64_t total, bool even) {
  std::vector<Part> parts;
  std::int64_t begin = 0;
  for (int r = 0; r < size; ++r) {
    const std::int64_t end = even            ? begin + total / size
                             : r == size - 1 ? total
                             : r == 1        ? begin
                                             : std::min(total, begin + total / size + 5 * r);
    parts.push_back({begin, end});
    begin = end;
  }
  return parts;
}

// Counts failures. sums_in_rank_order: whether ReduceScatter promises the bits of a sum in rank order.
template <typename Array>
void Exchange(Collectives& group, bool sums_in_rank_order = true) {
  const int size = group.size(), rank = group.rank();
  const auto sum_of = [&](std::int64_t i) {
    float sum = Value(0, i);
    for (int r = 1; r < size; ++r) sum += Value(r, i);
    return sum;
  };
  const auto same = [&](float got, std::int64_t i) {
    if (sums_in_rank_order) return got == sum_of(i);
    double sizes = 0;
    for (int r = 0; r < size; ++r) sizes += std::fabs(Value(r, i));
    return std::fabs(got - sum_of(i)) <= sizes * size * 0x1p-24;
  };
  for (const bool even : {false, true}) {
    for (const std::int64_t total : {std::int64_t{12}, std::int64_t{37 * 12}, std::int64_t{5004}}) {
      const std::vector<Part> parts = PartsOf(size, total, even);
      std::vector<float> values(static_cast<std::size_t>(total));
      for (std::int64_t i = 0; i < total; ++i) values[static_cast<std::size_t>(i)] = Value(rank, i);
      Array data(values);
      Expect(group.ReduceScatter(data.data(), parts, {}), "reduce-scatter");
      values = data.Read(group);
      for (std::int64_t i = parts[rank].begin; i < parts[rank].end; ++i) {
        Expect(same(values[static_cast<std::size_t>(i)], i), "a sum over ranks");
      }
      Expect(group.AllGather(data.data(), parts, {}), "all-gather");
      values = data.Read(group);
      for (std::int64_t i = 0; i < parts.back().end; ++i) {
        Expect(same(values[static_cast<std::size_t>(i)], i), "every rank has every sum");
      }
      for (int root = 0; root < size; ++root) {
        std::vector<float> letter(static_cast<std::size_t>(total), -1.0f);
        if (rank == root) {
          for (std::int64_t i = 0; i < total; ++i) letter[static_cast<std::size_t>(i)] = Value(root, i);
        }
        Array sent(letter);
        Expect(group.Broadcast(sent.data(), total * 4, root, {}), "broadcast");
        letter = sent.Read(group);
        for (std::int64_t i = 0; i < total; ++i) {
          Expect(letter[static_cast<std::size_t>(i)] == Value(root, i), "the root's bytes");
        }
      }
    }
  }
  // From s to r: 1000 * s + 3 * r floats, none to the neighbour.
  const auto count = [&](int s, int r) { return (s + 1) % 4 == r ? 0 : std::int64_t{1000} * s + 3 * r; };
  std::vector<Part> sends, receives;
  std::vector<float> send = {0};  // never empty
  std::int64_t to_come = 1;
  for (int r = 0; r < size; ++r) {
    const auto begin = static_cast<std::int64_t>(send.size()) * 4;
    for (std::int64_t i = 0; i < count(rank, r); ++i) send.push_back(Value(rank * 16 + r, i));
    sends.push_back({begin, static_cast<std::int64_t>(send.size()) * 4});
    receives.push_back({to_come * 4, (to_come + count(r, rank)) * 4});
    to_come += count(r, rank);
  }
  Array from(send), to(std::vector<float>(static_cast<std::size_t>(to_come), -1.0f));
  Expect(group.AllToAll(from.data(), sends, to.data(), receives, {}), "all-to-all");
  const std::vector<float> receive = to.Read(group);
  for (int s = 0; s < size; ++s) {
    for (std::int64_t i = 0; i < count(s, rank); ++i) {
      Expect(receive[static_cast<std::size_t>(receives[s].begin / 4 + i)] == Value(s * 16 + rank, i),
             "what s sent");
    }
  }
  std::vector<double> doubles = {1.0 / (rank + 3), 1e18 * (rank == 0 ? 1 : -1)};
  std::vector<std::int64_t> integers = {rank, std::int64_t{1} << 58};
  Expect(group.SumHost(std::span<double>(doubles)), "sum of doubles");
  Expect(group.SumHost(std::span<std::int64_t>(integers)), "sum of integers");
  double wanted = 1.0 / 3;
  for (int r = 1; r < size; ++r) wanted += 1.0 / (r + 3);
  Expect(doubles[0] == wanted, "doubles in rank order");
  Expect(integers[0] == size * (size - 1) / 2, "sum of ranks");
  const std::vector<std::int64_t> mine = {rank * 10, rank * 10 + 1, -rank};
  std::vector<std::int64_t> all(mine.size() * static_cast<std::size_t>(size), -1);
  Expect(group.AllGatherHost(mine, all), "all-gather of counts");
  for (int r = 0; r < size; ++r) Expect(all[3 * r + 1] == r * 10 + 1 && all[3 * r + 2] == -r, "counts of r");
  Expect(group.Barrier(), "barrier");
}

}  // namespace retort::student

#endif  // TESTS_STUDENT_PARALLEL_EXCHANGE_SCENARIO_H_
