// The memory that the processes of a run share, and how they wait for each other in it: futexes with a bound,
// a reason why the run ended, and a lock per rank that the kernel lets go of when its process ends.
#ifndef STUDENT_PARALLEL_SHARED_REGION_H_
#define STUDENT_PARALLEL_SHARED_REGION_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "student/parallel/shared_memory.h"

namespace retort::student {

// What one rank says to its group: two counters, each on a cache line of its own, that only it writes.
struct alignas(64) RankLine {
  std::atomic<std::uint32_t> posted{0};             // rounds whose bytes are in the rank's staging area
  std::atomic<std::uint32_t> more{0};               // whether it has more to send after this round
  alignas(64) std::atomic<std::uint32_t> taken{0};  // rounds of the others that it has read
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free, "shared between processes");

enum class GroupKind { kAll, kData, kExperts };
inline constexpr int kGroupKinds = 3;

class SharedRegion {
 public:
  // As SharedMemoryWorld::Join.
  static std::unique_ptr<SharedRegion> Join(const SharedMemoryOptions& options, std::string* problem,
                                            bool* retry);
  ~SharedRegion();
  SharedRegion(const SharedRegion&) = delete;
  SharedRegion& operator=(const SharedRegion&) = delete;

  const RankPlace& place() const { return options_.place; }
  std::size_t staging_bytes() const { return static_cast<std::size_t>(options_.staging_bytes); }
  RankLine& line(int rank, GroupKind kind);
  std::byte* staging(int rank, GroupKind kind);

  // Ends the run with a reason, unless it has one already.
  void End(std::string_view reason);
  bool ended() const;
  std::string reason() const;

  // Wakes those who wait on the word after a change of it.
  static void Wake(std::atomic<std::uint32_t>& word);
  // Waits until ready(word), which only `rank` changes. False when the run ends, which this call does when
  // any rank has died or `rank` lets it wait beyond the patience; `call` is named then.
  bool WaitFor(std::atomic<std::uint32_t>& word, int rank, const char* call,
               const std::function<bool(std::uint32_t)>& ready);

 private:
  struct Header;
  explicit SharedRegion(const SharedMemoryOptions& options);
  static std::size_t BytesOf(const SharedMemoryOptions& options);
  bool Create(std::string* problem, bool* retry);
  bool Attach(std::string* problem, bool* retry);
  bool GatherOthers(std::string* problem, bool* retry);
  bool AwaitOpening(std::string* problem, bool* retry);
  bool Map(std::size_t bytes);
  // Takes the lock that says that this rank lives; false when another process has it.
  bool LockOwn();
  bool Lives(int rank) const;
  // The lowest rank that has died, or -1.
  int Dead() const;

  const SharedMemoryOptions options_;
  int file_ = -1;
  Header* header_ = nullptr;
  std::size_t mapped_ = 0;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_SHARED_REGION_H_
