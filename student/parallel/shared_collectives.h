// The calls of one group over a SharedRegion. Every call goes in rounds: each rank waits until the others
// have read its last bytes, writes the next ones into its staging area, says so, reads what the others wrote,
// says so.
#ifndef STUDENT_PARALLEL_SHARED_COLLECTIVES_H_
#define STUDENT_PARALLEL_SHARED_COLLECTIVES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "student/parallel/collectives.h"
#include "student/parallel/shared_region.h"

namespace retort::student {

class SharedCollectives final : public Collectives {
 public:
  // `members` are the ranks of the run that make the group, rising, this one among them.
  SharedCollectives(SharedRegion& region, GroupKind kind, std::vector<int> members);

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }
  bool ReduceScatter(float* data, std::span<const Part> parts, Stream stream) override;
  bool AllGather(float* data, std::span<const Part> parts, Stream stream) override;
  bool Broadcast(void* data, std::int64_t bytes, int root, Stream stream) override;
  bool AllToAll(const void* send, std::span<const Part> sends, void* receive, std::span<const Part> receives,
                Stream stream) override;
  bool SumHost(std::span<double> values) override;
  bool SumHost(std::span<std::int64_t> values) override;
  bool AllGatherHost(std::span<const std::int64_t> mine, std::span<std::int64_t> all) override;
  bool Barrier() override;
  bool Finish(Stream stream) override;

 private:
  // One round. write() fills the own staging area, read(r) uses that of rank r of the group; both may be
  // empty.
  bool Round(const char* call, const std::function<void()>& write, const std::function<void(int)>& read);
  std::byte* staging(int r) { return region_.staging(members_[r], kind_); }
  RankLine& line(int r) { return region_.line(members_[r], kind_); }
  template <typename T>
  bool Sum(std::span<T> values);

  SharedRegion& region_;
  const GroupKind kind_;
  const std::vector<int> members_;
  int rank_ = 0;
  std::uint32_t round_ = 0;
  std::vector<float> sum_;  // of one piece
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_SHARED_COLLECTIVES_H_
