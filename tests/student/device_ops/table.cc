#include "tests/student/device_ops/table.h"

#include <algorithm>
#include <cstring>

#include "student/ops/copy.h"

namespace retort::student {

void Table::Begin(const std::string& op, const std::string& type, const std::string& shape) {
  line_ = op + (type.empty() ? "" : " " + type);
  shape_ = shape;
  ++lines_[line_].cases;
  ++cases_;
}

void Table::Fail(const std::string& what) {
  if (++failures_ <= 20) std::fprintf(stderr, "%s, %s: %s\n", line_.c_str(), shape_.c_str(), what.c_str());
}

void Table::Compare(const char* what, const std::vector<double>& got, const Expected& expected) {
  Line& line = lines_[line_];
  if (got.size() != expected.want.size()) {
    Fail(std::string(what) + " has " + std::to_string(got.size()) + " values; wanted " +
         std::to_string(expected.want.size()));
    return;
  }
  for (std::size_t i = 0; i < got.size(); ++i) {
    // Equal first: infinities have no difference.
    const double error = got[i] == expected.want[i] ? 0 : std::fabs(got[i] - expected.want[i]);
    const double bound = expected.bound[i];
    if (!(error <= bound)) {
      char text[200];
      std::snprintf(text, sizeof(text), "%s[%zu] is %.9g; wanted %.9g within %.3g", what, i, got[i],
                    expected.want[i], bound);
      Fail(text);
      return;
    }
    line.worst_error = std::max(line.worst_error, error);
    if (bound > 0) line.worst_share = std::max(line.worst_share, error / bound);
  }
}

void Table::Require(bool holds, const std::string& what) {
  if (!holds) Fail(what);
}

Outputs Table::Twice(const std::function<Outputs()>& run) {
  const auto first = run();
  // tests/cuda_on_cpu runs the blocks of every other launch in descending order: one launch in between turns
  // all.
  DeviceArray<float> one(std::vector<float>{0.0f});
  AddInto(TestStream(), one.data(), 1, one.data());
  one.Read();
  const auto second = run();
  bool same = first.size() == second.size();
  for (std::size_t i = 0; same && i < first.size(); ++i) {
    same = first[i].size() == second[i].size() &&
           (first[i].empty() ||
            std::memcmp(first[i].data(), second[i].data(), first[i].size() * sizeof(double)) == 0);
  }
  Require(same, "two runs gave different bits");
  return first;
}

int Table::Print() const {
  std::printf("%-34s %6s %12s %12s\n", "operator, type", "cases", "worst error", "of its bound");
  for (const auto& [name, line] : lines_) {
    std::printf("%-34s %6d %12.3g %12.3g\n", name.c_str(), line.cases, line.worst_error, line.worst_share);
  }
  std::printf("%d cases, %d failures\n", cases_, failures_);
  return failures_;
}

}  // namespace retort::student
