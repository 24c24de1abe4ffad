// One rank's end of a communicator, and the operations that it makes with the others. Nothing here waits:
// operations progress when polled, under the runtime's lock.
#ifndef TESTS_CUDA_ON_CPU_COMMUNICATOR_H_
#define TESTS_CUDA_ON_CPU_COMMUNICATOR_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "nccl.h"
#include "tests/cuda_on_cpu/meeting.h"

namespace retort::cuda_on_cpu {

class GroupWork;

struct Communicator {
  std::unique_ptr<Meeting> meeting;
  std::string name;
  int device = 0;
  std::atomic<bool> aborted = false;
  std::atomic<int> async_error = ncclSuccess;
  std::mutex text_lock;
  std::string last_error;  // guarded by text_lock

  // The rest is guarded by the runtime's lock.
  std::uint64_t steps = 0;   // of collectives, done
  std::uint64_t issued = 0;  // groups of work given to streams
  std::uint64_t next = 0;    // the one whose turn it is: work of one communicator runs in the order of issue
  const GroupWork* active = nullptr;
  std::uint64_t splits = 0;
  std::chrono::steady_clock::time_point looked_for_dead;

  int ranks() const { return meeting->ranks(); }
  int rank() const { return meeting->rank(); }
  void Fail(ncclResult_t error, const std::string& text);
  // Looks, not too often, whether a peer died; true when the communicator can go on.
  bool PeersLive();
};

enum class WorkKind : std::int32_t {
  kAllReduce,
  kReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kSend,
  kReceive
};
const char* NameOf(WorkKind kind);

struct Work {
  WorkKind kind;
  const char* send = nullptr;
  char* receive = nullptr;
  std::size_t count = 0;  // as in the function's signature
  ncclDataType_t type = ncclInt8;
  ncclRedOp_t op = ncclSum;
  int root = 0;  // or peer
};

// Everything that one group asks of one communicator, as one operation of a stream. Collectives run one after
// another, messages all at once.
class GroupWork {
 public:
  // In a graph the order of runs is the order of work, so it takes no turn.
  GroupWork(std::shared_ptr<Communicator> communicator, std::vector<Work> work, bool in_graph);
  bool Progress();  // true when all is done, or the communicator was aborted; then it can run again

 private:
  struct State {
    std::size_t at = 0;      // bytes or elements done
    bool published = false;  // the present step of a collective, or a message in its mailbox
    bool done = false;
  };
  bool ProgressCollective(const Work& work, State* state);
  void ProgressMessage(const Work& work, State* state);
  void CheckShapes(const CallShape& mine) const;
  void Finish();

  const std::shared_ptr<Communicator> communicator_;
  const std::vector<Work> work_;
  const bool in_graph_;
  const std::uint64_t turn_;
  std::vector<State> states_;
};

}  // namespace retort::cuda_on_cpu

#endif  // TESTS_CUDA_ON_CPU_COMMUNICATOR_H_
