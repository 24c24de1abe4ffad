// What ranks say to each other: sums, exchanges and barriers over one group of ranks. Two implementations
// answer to the same tests: shared memory between processes of one machine (shared_memory.h), and NCCL
// between devices (student/device/cuda/nccl_world.h).
//
// Every rank of a group makes the same calls in the same order with matching sizes (a precondition). Pointers
// are of the backend's memory: host memory for shared memory, device memory for NCCL, where a call is put
// into `stream` and returns at once; the calls on host values return when they are done in both.
//
// Failure is a state, not a value to pass through a backward pass. When a rank dies, leaves, stays away too
// long or reports an error, every call of every group of that run returns false from then on, at once and on
// all ranks; what the calls should have written is then unspecified (counts of AllGatherHost are zero).
// World::failure() has the reason, which names the rank. A step looks at it before it changes weights.
//
// One thread at a time per Collectives; different Collectives of one World may be used from different
// threads.
#ifndef STUDENT_PARALLEL_COLLECTIVES_H_
#define STUDENT_PARALLEL_COLLECTIVES_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "student/device/device_types.h"
#include "student/parallel/layout.h"
#include "student/parallel/part.h"

namespace retort::student {

class Collectives {
 public:
  virtual ~Collectives() = default;

  virtual int rank() const = 0;  // within this group, in the order of the ranks of the run
  virtual int size() const = 0;

  // In place. parts[r] is what rank r gets: afterwards data[parts[rank()]] is the sum over ranks, and the
  // rest of the parts is unspecified. parts has size() entries, possibly empty, in rising order without
  // overlap, the same on all ranks. Shared memory adds in rank order, so the bits depend on the number of
  // ranks alone; NCCL adds in the order of its rings, fixed for the same devices and settings.
  virtual bool ReduceScatter(float* data, std::span<const Part> parts, Stream stream) = 0;
  // In place, floats: data[parts[r]] of rank r comes to all.
  virtual bool AllGather(float* data, std::span<const Part> parts, Stream stream) = 0;
  // Bytes of `root` come to all.
  virtual bool Broadcast(void* data, std::int64_t bytes, int root, Stream stream) = 0;
  // Bytes send[sends[r]] go to rank r; those from rank r come to receive[receives[r]], which must be as long
  // as what r sends (a precondition, since counts are exchanged before). send and receive do not overlap.
  virtual bool AllToAll(const void* send, std::span<const Part> sends, void* receive,
                        std::span<const Part> receives, Stream stream) = 0;

  // Host values, done on return. Sums are made in rank order, so all ranks have the same bits.
  virtual bool SumHost(std::span<double> values) = 0;
  virtual bool SumHost(std::span<std::int64_t> values) = 0;
  // all[r * mine.size() ...] is what rank r gave; all.size() = size() * mine.size().
  virtual bool AllGatherHost(std::span<const std::int64_t> mine, std::span<std::int64_t> all) = 0;
  // Returns when all ranks have come.
  virtual bool Barrier() = 0;

  // Returns when everything put into `stream` is done, or false when the run has failed. Shared memory: at
  // once.
  virtual bool Finish(Stream stream) = 0;
};

// One process's view of all ranks of a run.
class World {
 public:
  virtual ~World() = default;

  virtual const RankPlace& place() const = 0;
  virtual Collectives& all() = 0;      // every rank
  virtual Collectives& data() = 0;     // those that own the same experts
  virtual Collectives& experts() = 0;  // those that together own every expert

  // Ends the run on all ranks: their calls return false, and their failure() is "rank N: reason". The first
  // reason stays. Any thread.
  virtual void Abort(std::string_view reason) = 0;
  // Empty while all is well. Any thread.
  virtual std::string failure() const = 0;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_COLLECTIVES_H_
