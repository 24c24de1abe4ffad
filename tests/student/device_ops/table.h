// The table that compares every operator's device twin with its plain truth in fp64, over odd shapes and both
// storage types. A plain program without a test framework, so that it also builds on a bare machine with a
// GPU: the same cases run there as run here through tests/cuda_on_cpu.
//
// The bound of an element, everywhere:
//
//   |got - want| <= u_T |want| + n u M + 2^-126
//
// u = 2^-24 is the rounding of fp32, u_T that of the type the result is stored in (2^-24, or 2^-8 for Bf16);
// M is the sum of the absolute values of the terms that the element adds up; n is the length of the longest
// sum it depends on, plus a few roundings for each term (exp, division, products): the classical bound of a
// sum in any order. Both come from the truth, in fp64, on inputs that are exactly those of the device. Below
// 2^-126 a float has fewer digits. A case whose result must be exact has n = 0 and the truth rounded to T.
// NaN fails.
#ifndef TESTS_STUDENT_DEVICE_OPS_TABLE_H_
#define TESTS_STUDENT_DEVICE_OPS_TABLE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tests/student/device_ops/device_array.h"

namespace retort::student {

inline constexpr double kUnit = 1.0 / (1 << 24);
inline constexpr double kSmallestNormal = 0x1p-126;

template <typename T>
constexpr double UnitOf() {
  return sizeof(T) == 4 ? kUnit : 1.0 / (1 << 8);
}
template <typename T>
const char* NameOf() {
  return sizeof(T) == 4 ? "float" : "bf16";
}

// Expected values and their bounds, element by element.
struct Expected {
  std::vector<double> want, bound;
  template <typename T>
  void Add(double value, double n, double magnitude) {
    want.push_back(value);
    bound.push_back(UnitOf<T>() * std::fabs(value) + n * kUnit * magnitude + kSmallestNormal);
  }
  void AddExact(double value) {
    want.push_back(value);
    bound.push_back(0);
  }
};

// What one run left on the device, array by array; exact in fp64.
using Outputs = std::vector<std::vector<double>>;

class Table {
 public:
  // quick: only the first few shapes of each list, for a build in which every CUDA thread is an OS thread.
  explicit Table(bool quick) : quick_(quick) {}

  // The shapes to go through.
  template <typename Shape>
  std::span<const Shape> Of(std::span<const Shape> shapes) const {
    return quick_ ? shapes.first(std::min<std::size_t>(kQuickShapes, shapes.size())) : shapes;
  }
  template <typename Shape, std::size_t kCount>
  std::span<const Shape> Of(const Shape (&shapes)[kCount]) const {
    return Of(std::span<const Shape>(shapes));
  }

  // Names the case that the next comparisons belong to; `shape` is for messages.
  void Begin(const std::string& op, const std::string& type, const std::string& shape);
  void Compare(const char* what, const std::vector<double>& got, const Expected& expected);
  void Require(bool holds, const std::string& what);

  // Calls run twice, the second time with blocks scheduled in another order where the device allows, requires
  // the same bits, and returns what the first gave.
  Outputs Twice(const std::function<Outputs()>& run);

  // Prints the table; returns how many checks failed.
  int Print() const;

 private:
  struct Line {
    int cases = 0;
    double worst_error = 0, worst_share = 0;  // share = error / bound
  };
  static constexpr std::size_t kQuickShapes = 3;
  void Fail(const std::string& what);

  const bool quick_;
  std::map<std::string, Line> lines_;
  std::string line_, shape_;
  int failures_ = 0, cases_ = 0;
};

// One per file of this folder.
void RunRowCases(Table* table);     // copy, add, gather, scatter, gather-sum, embedding
void RunNormCases(Table* table);    // RMSNorm, rope, gated unit
void RunRouterCases(Table* table);  // routing, balance loss, sort by expert
void RunAttentionCases(Table* table);
void RunHeadCases(Table* table);
void RunOptimizerCases(Table* table);

}  // namespace retort::student

#endif  // TESTS_STUDENT_DEVICE_OPS_TABLE_H_
