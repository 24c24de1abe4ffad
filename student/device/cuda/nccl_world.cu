#include <cuda_runtime.h>
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "student/device/cuda/nccl_world.h"
#include "student/device/cuda_library.h"
#include "student/parallel/rank_alarm.h"

namespace retort::student {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLookEvery(250);
constexpr std::chrono::microseconds kPollEvery(50);
constexpr std::size_t kHostBytesMax = 1 << 20;  // of one exchange of host values

std::string Sentence(const char* what, cudaError_t error) {
  return std::string(what) + ": " + cudaGetErrorString(error) + " (" +
         std::to_string(static_cast<int>(error)) + ")";
}

std::string Sentence(const char* what, ncclResult_t result) {
  return std::string(what) + ": " + ncclGetErrorString(result) + " (NCCL " +
         std::to_string(static_cast<int>(result)) + ")";
}

std::string Seconds(std::chrono::milliseconds time) {
  return std::to_string(time.count() / 1000) + " s";
}

// The same on all ranks of a run, and no other's: an id is random.
std::string AlarmName(const std::string& id, const std::string& machine) {
  std::uint64_t hash[2] = {0xcbf29ce484222325, 0x84222325cbf29ce4};
  for (const char c : id + machine) {
    for (std::uint64_t& h : hash) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  char name[64];
  std::snprintf(name, sizeof(name), "/retort-alarm-%016llx%016llx", static_cast<unsigned long long>(hash[0]),
                static_cast<unsigned long long>(hash[1]));
  return name;
}

// What the groups of one world share: the reason of an end, and the watch over calls under way.
class Watch {
 public:
  Watch(const RankPlace& place, std::chrono::milliseconds patience) : place_(place), patience_(patience) {}
  ~Watch() {
    if (thread_.joinable()) {
      {
        std::lock_guard lock(mutex_);
        stop_ = true;
      }
      changed_.notify_all();
      thread_.join();
    }
    for (ncclComm_t comm : comms_) {
      if (aborted_) continue;
      ncclCommDestroy(comm);
    }
    for (const Call& call : calls_) cudaEventDestroy(call.event);
    for (cudaEvent_t event : idle_) cudaEventDestroy(event);
  }

  // Before the others: from here on ranks of this machine hear of each other's end.
  bool Open(const std::string& id, const std::string& machine, std::string* problem) {
    alarm_ = RankAlarm::Open(AlarmName(id, machine), place_.rank, place_.layout.world(), problem);
    return alarm_ != nullptr;
  }
  RankAlarm& alarm() { return *alarm_; }
  void Add(ncclComm_t comm) { comms_.push_back(comm); }
  void Start(int ordinal) {
    thread_ = std::thread([this, ordinal] {
      cudaSetDevice(ordinal);
      Look();
    });
  }

  bool ended() const { return ended_.load(); }
  std::string reason() const {
    std::lock_guard lock(mutex_);
    return reason_;
  }

  // Ends the run for a reason of this rank's own.
  void End(const std::string& reason) { EndAs("rank " + std::to_string(place_.rank) + ": " + reason); }

  // After a call was queued on `stream`. False, and the end, when it was refused.
  bool Queued(const char* what, ncclResult_t result, ncclComm_t comm, cudaStream_t stream) {
    // A communicator that does not block may still be queueing.
    for (const auto give_up = Clock::now() + patience_; result == ncclInProgress && !ended();) {
      if (ncclCommGetAsyncError(comm, &result) != ncclSuccess || Clock::now() >= give_up)
        result = ncclSystemError;
      if (result == ncclInProgress) std::this_thread::sleep_for(kPollEvery);
    }
    if (ended()) return false;
    if (result != ncclSuccess) {
      End(Sentence(what, result));
      return false;
    }
    std::lock_guard lock(mutex_);
    cudaEvent_t event = nullptr;
    if (!idle_.empty()) {
      event = idle_.back();
      idle_.pop_back();
    } else if (cudaEventCreateWithFlags(&event, cudaEventDisableTiming) != cudaSuccess) {
      return true;  // this call is not watched; the stream's next one is
    }
    if (cudaEventRecord(event, stream) == cudaSuccess) {
      calls_.push_back({event, Clock::now(), what});
    } else {
      idle_.push_back(event);
    }
    return true;
  }

 private:
  struct Call {
    cudaEvent_t event;
    Clock::time_point queued;
    const char* what;
  };

  void EndAs(const std::string& reason) {
    std::lock_guard lock(mutex_);
    if (ended_.exchange(true)) return;
    // Of two that end at once the first to say so is right: the other may only see what that one did.
    reason_ = alarm_->Look();
    if (reason_.empty()) {
      alarm_->Raise(reason);
      reason_ = reason;
    }
    aborted_ = true;
    for (ncclComm_t comm : comms_) ncclCommAbort(comm);
  }

  void Look() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      changed_.wait_for(lock, kLookEvery);
      if (stop_ || ended_) continue;
      if (const std::string heard = alarm_->Look(); !heard.empty()) {
        lock.unlock();
        EndAs(heard);
        lock.lock();
        continue;
      }
      std::string reason;
      for (ncclComm_t comm : comms_) {
        ncclResult_t error = ncclSuccess;
        const ncclResult_t asked = ncclCommGetAsyncError(comm, &error);
        if (asked != ncclSuccess) error = asked;
        if (error != ncclSuccess && error != ncclInProgress) {
          reason = Sentence("another rank ended, or the way to it", error);
        }
      }
      while (!calls_.empty() && cudaEventQuery(calls_.front().event) == cudaSuccess) {
        idle_.push_back(calls_.front().event);
        calls_.pop_front();
      }
      if (reason.empty() && !calls_.empty() && Clock::now() - calls_.front().queued > patience_) {
        reason = std::string(calls_.front().what) + " did not end within " + Seconds(patience_) +
                 "; another rank does not come";
      }
      if (reason.empty()) continue;
      lock.unlock();
      End(reason);
      lock.lock();
    }
  }

  const RankPlace place_;
  const std::chrono::milliseconds patience_;
  std::unique_ptr<RankAlarm> alarm_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> ended_{false};
  bool aborted_ = false, stop_ = false;
  std::string reason_;
  std::vector<ncclComm_t> comms_;
  std::deque<Call> calls_;  // queued and not known to be done, oldest first
  std::vector<cudaEvent_t> idle_;
  std::thread thread_;
};

// Waits until a communicator that does not block is ready.
ncclResult_t AwaitReady(ncclComm_t comm, ncclResult_t result, Clock::time_point give_up) {
  while (result == ncclInProgress && Clock::now() < give_up) {
    std::this_thread::sleep_for(kPollEvery);
    if (const ncclResult_t asked = ncclCommGetAsyncError(comm, &result); asked != ncclSuccess) return asked;
  }
  return result;
}

class NcclCollectives final : public Collectives {
 public:
  NcclCollectives(Watch& watch, ncclComm_t comm, int rank, int size)
      : watch_(watch), comm_(comm), rank_(rank), size_(size) {}
  ~NcclCollectives() override {
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
    if (pinned_ != nullptr) cudaFreeHost(pinned_);
    if (device_ != nullptr) cudaFree(device_);
  }

  // Makes what the calls on host values need.
  cudaError_t Reserve() {
    cudaError_t error = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking);
    const std::size_t bytes = kHostBytesMax * (static_cast<std::size_t>(size_) + 1);
    if (error == cudaSuccess) error = cudaMallocHost(reinterpret_cast<void**>(&pinned_), bytes);
    if (error == cudaSuccess) error = cudaMalloc(reinterpret_cast<void**>(&device_), bytes);
    return error;
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  bool ReduceScatter(float* data, std::span<const Part> parts, Stream stream) override {
    assert(static_cast<int>(parts.size()) == size_);
    return Grouped("a reduction", stream, [&](cudaStream_t s) {
      if (Even(parts)) {
        return ncclReduceScatter(data + parts[0].begin, data + parts[rank_].begin,
                                 static_cast<std::size_t>(parts[0].size()), ncclFloat, ncclSum, comm_, s);
      }
      for (int r = 0; r < size_; ++r) {
        if (parts[r].size() == 0) continue;
        float* const part = data + parts[r].begin;
        const ncclResult_t result = ncclReduce(part, part, static_cast<std::size_t>(parts[r].size()),
                                               ncclFloat, ncclSum, r, comm_, s);
        if (result != ncclSuccess && result != ncclInProgress) return result;
      }
      return ncclSuccess;
    });
  }

  bool AllGather(float* data, std::span<const Part> parts, Stream stream) override {
    assert(static_cast<int>(parts.size()) == size_);
    return Grouped("a gather", stream, [&](cudaStream_t s) {
      if (Even(parts)) {
        return ncclAllGather(data + parts[rank_].begin, data + parts[0].begin,
                             static_cast<std::size_t>(parts[0].size()), ncclFloat, comm_, s);
      }
      for (int r = 0; r < size_; ++r) {
        if (parts[r].size() == 0) continue;
        float* const part = data + parts[r].begin;
        const ncclResult_t result =
            ncclBroadcast(part, part, static_cast<std::size_t>(parts[r].size()), ncclFloat, r, comm_, s);
        if (result != ncclSuccess && result != ncclInProgress) return result;
      }
      return ncclSuccess;
    });
  }

  bool Broadcast(void* data, std::int64_t bytes, int root, Stream stream) override {
    return Grouped("a broadcast", stream, [&](cudaStream_t s) {
      return ncclBroadcast(data, data, static_cast<std::size_t>(bytes), ncclChar, root, comm_, s);
    });
  }

  bool AllToAll(const void* send, std::span<const Part> sends, void* receive, std::span<const Part> receives,
                Stream stream) override {
    assert(static_cast<int>(sends.size()) == size_ && static_cast<int>(receives.size()) == size_);
    const char* const from = static_cast<const char*>(send);
    char* const to = static_cast<char*>(receive);
    if (sends[rank_].size() > 0) {
      cudaMemcpyAsync(to + receives[rank_].begin, from + sends[rank_].begin,
                      static_cast<std::size_t>(sends[rank_].size()), cudaMemcpyDeviceToDevice, Of(stream));
    }
    return Grouped("an exchange of tokens", stream, [&](cudaStream_t s) {
      for (int r = 0; r < size_; ++r) {
        if (r == rank_) continue;
        ncclResult_t result = ncclSuccess;
        if (sends[r].size() > 0) {
          result = ncclSend(from + sends[r].begin, static_cast<std::size_t>(sends[r].size()), ncclChar, r,
                            comm_, s);
        }
        if ((result == ncclSuccess || result == ncclInProgress) && receives[r].size() > 0) {
          result = ncclRecv(to + receives[r].begin, static_cast<std::size_t>(receives[r].size()), ncclChar, r,
                            comm_, s);
        }
        if (result != ncclSuccess && result != ncclInProgress) return result;
      }
      return ncclSuccess;
    });
  }

  bool SumHost(std::span<double> values) override { return Sum(values); }
  bool SumHost(std::span<std::int64_t> values) override { return Sum(values); }

  bool AllGatherHost(std::span<const std::int64_t> mine, std::span<std::int64_t> all) override {
    assert(all.size() == mine.size() * static_cast<std::size_t>(size_));
    std::fill(all.begin(), all.end(), 0);
    const std::size_t length = kHostBytesMax / sizeof(std::int64_t);
    for (std::size_t begin = 0; begin < mine.size(); begin += length) {
      const auto piece = mine.subspan(begin, std::min(length, mine.size() - begin));
      if (!Exchange(piece.data(), piece.size_bytes())) {
        std::fill(all.begin(), all.end(), 0);
        return false;
      }
      for (std::size_t r = 0; r < static_cast<std::size_t>(size_); ++r) {
        std::memcpy(all.data() + r * mine.size() + begin, Of(r, piece.size_bytes()), piece.size_bytes());
      }
    }
    return !watch_.ended();
  }

  bool Barrier() override {
    const std::int64_t nothing = 0;
    return Exchange(&nothing, sizeof(nothing));
  }

  bool Finish(Stream stream) override { return Await(Of(stream), "the device"); }

 private:
  // Parts of one length, one behind the other.
  static bool Even(std::span<const Part> parts) {
    for (std::size_t r = 0; r < parts.size(); ++r) {
      if (parts[r].size() != parts[0].size() || (r > 0 && parts[r].begin != parts[r - 1].end)) return false;
    }
    return parts[0].size() > 0;
  }

  template <typename F>
  bool Grouped(const char* what, Stream stream, const F& calls) {
    if (watch_.ended()) return false;
    ncclResult_t result = ncclGroupStart();
    if (result == ncclSuccess) {
      const ncclResult_t inside = calls(Of(stream));
      result = ncclGroupEnd();
      if (inside != ncclSuccess && inside != ncclInProgress) result = inside;
    }
    return watch_.Queued(what, result, comm_, Of(stream));
  }

  // Waits for a stream without giving the thread to a driver call that a lost rank would make endless.
  bool Await(cudaStream_t stream, const char* what) {
    for (;;) {
      const cudaError_t state = cudaStreamQuery(stream);
      if (watch_.ended()) return false;
      if (state == cudaSuccess) return true;
      if (state != cudaErrorNotReady) {
        watch_.End(Sentence(what, state));
        return false;
      }
      std::this_thread::sleep_for(kPollEvery);
    }
  }

  // What every rank gave, `bytes` each, is then at Of(r, bytes).
  bool Exchange(const void* mine, std::size_t bytes) {
    if (watch_.ended()) return false;
    std::memcpy(pinned_, mine, bytes);
    char* const all = device_ + kHostBytesMax;
    cudaError_t error = cudaMemcpyAsync(device_, pinned_, bytes, cudaMemcpyHostToDevice, stream_);
    if (error == cudaSuccess) {
      const ncclResult_t result = ncclAllGather(device_, all, bytes, ncclChar, comm_, stream_);
      if (!watch_.Queued("an exchange of numbers", result, comm_, stream_)) return false;
      error = cudaMemcpyAsync(pinned_ + kHostBytesMax, all, bytes * static_cast<std::size_t>(size_),
                              cudaMemcpyDeviceToHost, stream_);
    }
    if (error != cudaSuccess) {
      watch_.End(Sentence("an exchange of numbers", error));
      return false;
    }
    return Await(stream_, "an exchange of numbers");
  }
  const char* Of(std::size_t r, std::size_t bytes) const { return pinned_ + kHostBytesMax + r * bytes; }
  static cudaStream_t Of(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }

  template <typename T>
  bool Sum(std::span<T> values) {
    const std::size_t length = kHostBytesMax / sizeof(T);
    for (std::size_t begin = 0; begin < values.size(); begin += length) {
      const auto piece = values.subspan(begin, std::min(length, values.size() - begin));
      if (!Exchange(piece.data(), piece.size_bytes())) return false;
      for (int r = 0; r < size_; ++r) {
        const T* const other =
            reinterpret_cast<const T*>(Of(static_cast<std::size_t>(r), piece.size_bytes()));
        for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = r == 0 ? other[i] : piece[i] + other[i];
      }
    }
    return !watch_.ended();
  }

  Watch& watch_;
  const ncclComm_t comm_;
  const int rank_, size_;
  cudaStream_t stream_ = nullptr;
  char *pinned_ = nullptr, *device_ = nullptr;  // own values, then those of all ranks
};

class NcclWorld final : public World {
 public:
  NcclWorld(const RankPlace& place, std::chrono::milliseconds patience)
      : place_(place), watch_(place, patience) {}

  bool Open(const std::string& id_bytes, int ordinal, const NcclOptions& options, std::string* problem) {
    if (id_bytes.size() != kNcclIdBytes) {
      *problem =
          "NCCL id: " + std::to_string(id_bytes.size()) + " bytes; wanted " + std::to_string(kNcclIdBytes);
      return false;
    }
    if (const cudaError_t error = cudaSetDevice(ordinal); error != cudaSuccess) {
      *problem = Sentence(("device " + std::to_string(ordinal)).c_str(), error);
      return false;
    }
    if (!watch_.Open(id_bytes, options.machine, problem)) return false;
    ncclUniqueId id;
    std::memcpy(&id, id_bytes.data(), sizeof(id));
    const auto give_up = Clock::now() + options.join_patience;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t all = nullptr, data = nullptr, experts = nullptr;
    ncclResult_t result = ncclCommInitRankConfig(&all, place_.layout.world(), id, place_.rank, &config);
    result = AwaitReady(all, result, give_up);
    if (!Opened(all, result, options, problem)) return false;
    // A split is ready when both the whole and the part are.
    const auto split = [&](int color, ncclComm_t* part) {
      ncclResult_t made = AwaitReady(all, ncclCommSplit(all, color, place_.rank, part, &config), give_up);
      if (made == ncclSuccess && ncclCommGetAsyncError(*part, &made) == ncclSuccess) {
        made = AwaitReady(*part, made, give_up);
      }
      return Opened(*part, made, options, problem);
    };
    if (!split(place_.expert_rank(), &data) || !split(place_.data_rank(), &experts)) return false;
    all_ = std::make_unique<NcclCollectives>(watch_, all, place_.rank, place_.layout.world());
    data_ = std::make_unique<NcclCollectives>(watch_, data, place_.data_rank(), place_.layout.data);
    experts_ =
        std::make_unique<NcclCollectives>(watch_, experts, place_.expert_rank(), place_.layout.experts);
    for (NcclCollectives* group : {all_.get(), data_.get(), experts_.get()}) {
      if (const cudaError_t error = group->Reserve(); error != cudaSuccess) {
        *problem = Sentence("memory for the exchange of numbers", error);
        watch_.End(*problem);
        return false;
      }
    }
    watch_.alarm().RemoveName();
    watch_.Start(ordinal);
    return true;
  }

  const RankPlace& place() const override { return place_; }
  Collectives& all() override { return *all_; }
  Collectives& data() override { return *data_; }
  Collectives& experts() override { return *experts_; }
  void Abort(std::string_view reason) override { watch_.End(std::string(reason)); }
  std::string failure() const override { return watch_.reason(); }

 private:
  bool Opened(ncclComm_t comm, ncclResult_t result, const NcclOptions& options, std::string* problem) {
    if (comm != nullptr) watch_.Add(comm);
    if (result == ncclSuccess) return true;
    *problem = result == ncclInProgress
                   ? "of " + std::to_string(place_.layout.world()) + " ranks not all came to NCCL within " +
                         Seconds(options.join_patience) + "; rank " + std::to_string(place_.rank) +
                         " waited" + NotSeen()
                   : Sentence("NCCL", result);
    watch_.End(*problem);
    return false;
  }

  std::string NotSeen() {
    const std::string missing = watch_.alarm().Missing();
    return missing.empty() ? "" : ", not seen on its machine: " + missing;
  }

  const RankPlace place_;
  Watch watch_;  // after the groups are gone
  std::unique_ptr<NcclCollectives> all_, data_, experts_;
};

}  // namespace

bool NcclId(std::string* id, std::string* problem) {
  ncclUniqueId made;
  if (const ncclResult_t result = ncclGetUniqueId(&made); result != ncclSuccess) {
    *problem = Sentence("NCCL id", result);
    return false;
  }
  id->assign(made.internal, sizeof(made));
  return true;
}

std::unique_ptr<World> JoinNcclWorld(const RankPlace& place, const std::string& id, int ordinal,
                                     const NcclOptions& options, std::string* problem) {
  auto world = std::make_unique<NcclWorld>(place, options.patience);
  if (!world->Open(id, ordinal, options, problem)) return nullptr;
  return world;
}

}  // namespace retort::student

extern "C" RetortNcclIdFunction RetortNcclId;
extern "C" RetortNcclJoinFunction RetortNcclJoin;

extern "C" int RetortNcclId(char* id, char* text, unsigned long size) {
  std::string made, problem;
  if (!retort::student::NcclId(&made, &problem)) {
    std::snprintf(text, size, "%s", problem.c_str());
    return 0;
  }
  std::memcpy(id, made.data(), made.size());
  return static_cast<int>(made.size());
}

extern "C" retort::student::World* RetortNcclJoin(const retort::student::RankPlace* place, const char* id,
                                                  unsigned long id_bytes, int ordinal, long join_patience_ms,
                                                  long patience_ms, char* text, unsigned long size) {
  std::string problem;
  auto world = retort::student::JoinNcclWorld(*place, std::string(id, id_bytes), ordinal,
                                              {.join_patience = std::chrono::milliseconds(join_patience_ms),
                                               .patience = std::chrono::milliseconds(patience_ms)},
                                              &problem);
  if (world == nullptr) std::snprintf(text, size, "%s", problem.c_str());
  return world.release();
}
