// Where the ranks of one communicator meet: a POSIX shared memory object with a channel for collectives and a
// mailbox for each ordered pair of ranks. Nothing here waits; callers poll.
#ifndef TESTS_CUDA_ON_CPU_MEETING_H_
#define TESTS_CUDA_ON_CPU_MEETING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace retort::cuda_on_cpu {

inline constexpr int kRanksMax = 16;
inline constexpr std::size_t kChunkBytes = std::size_t{1} << 20;  // of a collective, each rank
inline constexpr std::size_t kMailBytes = std::size_t{1} << 17;   // of a message

// What a rank does, so that ranks which do different things notice. Lives in shared memory.
struct CallShape {
  std::int32_t kind;
  std::int32_t type;
  std::int32_t op;
  std::int32_t root;
  std::uint64_t count;
  friend bool operator==(const CallShape&, const CallShape&) = default;
};

class Meeting {
 public:
  // Opens or makes the object named `name` ("/…"). Null with a reason when the system refuses or the object
  // was made for another number of ranks, or when this rank has joined already.
  static std::unique_ptr<Meeting> Join(const std::string& name, int ranks, int rank, std::string* reason);
  ~Meeting();  // leaves; the name goes with the first who leaves
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  int ranks() const { return ranks_; }
  int rank() const { return rank_; }
  int MissingRank() const;  // one that has not joined yet, or -1
  int DeadRank() const;     // one that joined and whose process is gone without leaving, or -1
  void Leave();             // from now on this rank is no dead one
  void RemoveName();        // once all have joined, or one has given up, nobody needs it
  // Removes what ranks left that were killed before: objects named `prefix`<process>_… whose process is gone.
  static void RemoveAbandoned(const std::string& prefix);

  // Collectives: a rank publishes step after step; `written` counts published steps, `consumed` those that
  // the rank needs no more. A step may be published when every rank has consumed the one before.
  struct Channel {
    std::atomic<std::uint64_t> written;
    std::atomic<std::uint64_t> consumed;
    CallShape shape;
  };
  Channel& channel(int rank) const;
  char* chunk(int rank) const;

  // Messages from one rank to another: full when written > consumed.
  struct Mailbox {
    std::atomic<std::uint64_t> written;
    std::atomic<std::uint64_t> consumed;
    std::uint64_t bytes;
    std::uint64_t message_bytes;  // of the whole message, for a check
  };
  Mailbox& mailbox(int from, int to) const;
  char* mail(int from, int to) const;

  // For splits: the color and key of a rank in the split of this number. Two in turn: nobody can be two
  // splits ahead of one who still reads.
  struct Ballot {
    std::atomic<std::uint64_t> number;
    std::int32_t color;
    std::int32_t key;
  };
  Ballot& ballot(int rank, std::uint64_t number) const;

 private:
  struct Shared;
  Meeting() = default;

  std::string name_;
  int file_ = -1;
  int ranks_ = 0;
  int rank_ = 0;
  std::atomic<bool> named_ = true;
  Shared* shared_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_MEETING_H_
