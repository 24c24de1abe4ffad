// How the ranks of a run that share a machine learn at once that one of them has ended or gives up: a page of
// POSIX shared memory with the reason, and a lock per rank that goes with its process (rank_locks.h). It
// moves no tensors; NCCL does, and tells of a lost peer only where a network lies between
// (student/device/cuda/nccl_world.h).
//
//   auto alarm = RankAlarm::Open("/retort-alarm-7f3a", place.rank, place.layout.world(), &problem);
//   …all ranks have met…     alarm->RemoveName();
//   alarm->Raise("rank 2: the disk is full");          // the first reason stays
//   if (std::string reason = alarm->Look(); !reason.empty()) …
//
// A rank that leaves in good order (the destructor) alarms nobody. Ranks of other machines, or of other
// containers with a /dev/shm of their own, are not seen. Any thread.
#ifndef STUDENT_PARALLEL_RANK_ALARM_H_
#define STUDENT_PARALLEL_RANK_ALARM_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace retort::student {

class RankAlarm {
 public:
  static constexpr std::size_t kReasonBytesMax = 1024;
  static constexpr int kRanksMax = 2048;

  // Comes to the page `name` (rank_locks.h, IsSharedMemoryName), which the first rank makes. Null with
  // *problem, a sentence: the name is malformed; rank or world are beyond their bounds; another process has
  // come as this rank; the page was made for another number of ranks; the system refuses.
  static std::unique_ptr<RankAlarm> Open(const std::string& name, int rank, int world, std::string* problem);
  ~RankAlarm();
  RankAlarm(const RankAlarm&) = delete;
  RankAlarm& operator=(const RankAlarm&) = delete;

  // Once all ranks have come nobody needs the name.
  void RemoveName();
  // Cut to kReasonBytesMax.
  void Raise(std::string_view reason);
  // Empty while all is well. Otherwise the reason that was raised, or "rank 3 ended in the middle of the run"
  // for one that came and whose process is gone.
  std::string Look();
  // Of the ranks 0 .. world - 1 those that have not come to this page: "1, 3". Empty: all have.
  std::string Missing() const;

 private:
  struct Page;
  RankAlarm(std::string name, int rank, int world);

  const std::string name_;
  const int rank_, world_;
  bool named_ = true;
  int file_ = -1;
  Page* page_ = nullptr;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_RANK_ALARM_H_
