// Collectives between processes of one machine, through one piece of POSIX shared memory. No network, no
// library: the parallel algorithm runs in tests with 2 and 4 processes exactly as it runs on devices.
//
//   std::string problem; bool retry;
//   auto world = SharedMemoryWorld::Join({.name = "/retort-7f3a", .place = place, .card = card}, &problem,
//   &retry); if (world == nullptr) return problem;      // one sentence, names the rank that is missing or
//   differs
//
// Rank 0 makes the memory under its name, the others wait for it; when all have come the name is removed, so
// nothing is left behind by processes that die later. Each rank holds a lock on a byte of the memory for as
// long as it lives; the kernel lets go of it when the process ends, however it ends, which is how the others
// know within half a second. A rank that lives but does not come to a call within `patience` ends the run
// too.
//
// Data goes through a staging area per rank and group, in pieces; sums are made in rank order by the rank
// that gets them. A world must not be used across fork().
#ifndef STUDENT_PARALLEL_SHARED_MEMORY_H_
#define STUDENT_PARALLEL_SHARED_MEMORY_H_

#include <chrono>
#include <memory>
#include <string>

#include "student/parallel/collectives.h"

namespace retort::student {

// Longest card of a rank.
inline constexpr std::size_t kCardBytesMax = 512;

struct SharedMemoryOptions {
  std::string name;  // "/" and up to 200 letters, digits, '-', '_' or '.'; the same for all ranks of a run
  RankPlace place;
  // What must be the same on all ranks (binary, manifest, layout), in a form for people. At most
  // kCardBytesMax.
  std::string card;
  std::chrono::milliseconds join_patience = std::chrono::seconds(60);  // until all ranks have come
  std::chrono::milliseconds patience = std::chrono::minutes(10);       // for a rank that lives, in one call
  std::int64_t staging_bytes = 1 << 20;  // of each rank in each group; a multiple of 4096
};

class SharedMemoryWorld final : public World {
 public:
  // Null with *problem when: the name or the card is malformed; a rank has another card (both are quoted);
  // ranks do not come in time (they are named); two processes claim one rank; the system refuses the memory.
  // *retry is then whether a new launch can help (ranks that stayed away or died) or not.
  static std::unique_ptr<SharedMemoryWorld> Join(const SharedMemoryOptions& options, std::string* problem,
                                                 bool* retry);
  // Leaves. A rank that leaves while others still wait for it ends their run; meet in a Barrier before.
  ~SharedMemoryWorld() override;

  const RankPlace& place() const override;
  Collectives& all() override;
  Collectives& data() override;
  Collectives& experts() override;
  void Abort(std::string_view reason) override;
  std::string failure() const override;

 private:
  struct Impl;
  explicit SharedMemoryWorld(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_SHARED_MEMORY_H_
