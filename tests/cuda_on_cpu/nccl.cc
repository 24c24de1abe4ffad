// NCCL's functions: communicators are made and ended here, work is checked, grouped and given to streams.
#include "nccl.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "tests/cuda_on_cpu/communicator.h"
#include "tests/cuda_on_cpu/reduction.h"
#include "tests/cuda_on_cpu/runtime.h"

using namespace retort::cuda_on_cpu;

struct ncclComm {
  std::shared_ptr<Communicator> state;
};

namespace {

constexpr char kNamePrefix[] =
    "/retort_nccl_";  // of shared memory; the number of the process that made the id follows

struct Asked {
  std::shared_ptr<Communicator> communicator;
  cudaStream_t stream;
  std::vector<Work> work;
};
thread_local int group_depth = 0;
thread_local std::vector<Asked> group;  // by communicator

ncclResult_t Issue(std::vector<Asked>* asked) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  ncclResult_t result = ncclSuccess;
  for (Asked& one : *asked) {
    const auto stream = StateOf(one.stream);
    if (stream == nullptr) {
      result = ncclInvalidArgument;
      continue;
    }
    const auto work =
        std::make_shared<GroupWork>(one.communicator, std::move(one.work), stream->capture != nullptr);
    if (EnqueueWaiting(one.stream, [work] { return work->Progress(); }) != cudaSuccess)
      result = ncclUnhandledCudaError;
  }
  asked->clear();
  return result;
}

void CheckBuffer(const char* function, const char* name, const void* pointer, std::size_t bytes) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  if (bytes == 0 || TheRuntime().memory.IsDevice(pointer, bytes)) return;
  std::fprintf(stderr, "cuda_on_cpu: %s: %s = %p of %zu bytes is not within a device allocation\n", function,
               name, pointer, bytes);
  std::abort();
}

// sent and received: elements of the two buffers.
ncclResult_t Ask(const Work& work, std::size_t sent, std::size_t received, ncclComm_t comm,
                 cudaStream_t stream) {
  if (comm == nullptr) return ncclInvalidArgument;
  const std::shared_ptr<Communicator>& communicator = comm->state;
  const std::size_t element = BytesOf(work.type);
  if (element == 0 || work.op < ncclSum || work.op > ncclAvg) return ncclInvalidArgument;
  if (work.root < 0 || work.root >= communicator->ranks()) return ncclInvalidArgument;
  if (DeviceError() != cudaSuccess) return ncclUnhandledCudaError;
  if (communicator->aborted || communicator->meeting->MissingRank() >= 0) return ncclInvalidUsage;
  if (communicator->async_error != ncclSuccess)
    return static_cast<ncclResult_t>(communicator->async_error.load());
  if (work.count == 0) return ncclSuccess;
  if ((sent > 0 && work.send == nullptr) || (received > 0 && work.receive == nullptr))
    return ncclInvalidArgument;
  CheckBuffer(NameOf(work.kind), "the sent buffer", work.send, sent * element);
  CheckBuffer(NameOf(work.kind), "the received buffer", work.receive, received * element);
  std::vector<Asked> alone;
  std::vector<Asked>& asked = group_depth > 0 ? group : alone;
  for (Asked& one : asked) {
    if (one.communicator != communicator) continue;
    if (one.stream != stream) return ncclInvalidUsage;  // one stream for each communicator in a group, here
    one.work.push_back(work);
    return ncclSuccess;
  }
  asked.push_back({communicator, stream, {work}});
  return group_depth > 0 ? ncclSuccess : Issue(&alone);
}

std::string MissingText(int rank) {
  return "rank " + std::to_string(rank) + " has not joined";
}

// Waits, when blocking, for all ranks. The name is removed once nobody needs it any more.
ncclResult_t AwaitAll(Communicator* communicator, bool blocking) {
  const auto limit = std::chrono::steady_clock::now() + TheRuntime().hang_limit;
  while (blocking && communicator->meeting->MissingRank() >= 0) {
    if (std::chrono::steady_clock::now() > limit) {
      communicator->Fail(ncclSystemError, MissingText(communicator->meeting->MissingRank()));
      return ncclSystemError;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  if (blocking) communicator->meeting->RemoveName();
  return blocking ? ncclSuccess : ncclInProgress;
}

thread_local std::string last_error_of_thread;

ncclResult_t Make(ncclComm_t* comm, const std::string& name, int ranks, int rank, bool blocking) {
  *comm = nullptr;
  auto communicator = std::make_shared<Communicator>();
  communicator->name = name;
  communicator->device = CurrentDevice();
  communicator->meeting = Meeting::Join(name, ranks, rank, &last_error_of_thread);
  if (communicator->meeting == nullptr) return ncclInvalidUsage;
  const ncclResult_t result = AwaitAll(communicator.get(), blocking);
  if (result != ncclSuccess && result != ncclInProgress) {
    last_error_of_thread = communicator->last_error;
    return result;
  }
  *comm = new ncclComm{communicator};
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  ++TheRuntime().handles;
  return result;
}

ncclResult_t End(ncclComm_t comm) {
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  --TheRuntime().handles;
  delete comm;
  return ncclSuccess;
}

bool IsBlocking(const ncclConfig_t* config) {
  return config == nullptr || config->blocking != 0;
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  if (version == nullptr) return ncclInvalidArgument;
  *version = NCCL_MAJOR * 10000;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclUnhandledCudaError:
      return "unhandled cuda error";
    case ncclSystemError:
      return "unhandled system error";
    case ncclInternalError:
      return "internal error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "NCCL operation in progress";
  }
  return "unknown result code";
}

const char* ncclGetLastError(ncclComm_t comm) {
  if (comm != nullptr) {
    const std::lock_guard<std::mutex> hold(comm->state->text_lock);
    last_error_of_thread = comm->state->last_error;
  }
  return last_error_of_thread.c_str();
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  if (id == nullptr) return ncclInvalidArgument;
  *id = {};
  Meeting::RemoveAbandoned(kNamePrefix);
  std::random_device random;
  std::snprintf(id->internal, sizeof(id->internal), "%s%d_%08x%08x", kNamePrefix, static_cast<int>(getpid()),
                random(), random());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank) {
  return ncclCommInitRankConfig(comm, ranks, id, rank, nullptr);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (comm == nullptr || ranks < 1 || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  if (ranks > kRanksMax || group_depth > 0) return ncclInvalidUsage;
  if (std::strncmp(id.internal, kNamePrefix, std::strlen(kNamePrefix)) != 0 ||
      std::memchr(id.internal, 0, sizeof(id.internal)) == nullptr) {
    return ncclInvalidArgument;  // not one of ncclGetUniqueId
  }
  if (DeviceError() != cudaSuccess) return ncclUnhandledCudaError;
  return Make(comm, id.internal, ranks, rank, IsBlocking(config));
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* part, ncclConfig_t* config) {
  if (comm == nullptr || part == nullptr || (color < 0 && color != NCCL_SPLIT_NOCOLOR))
    return ncclInvalidArgument;
  *part = nullptr;
  Communicator& whole = *comm->state;
  const Meeting& meeting = *whole.meeting;
  const std::uint64_t number = ++whole.splits;
  Meeting::Ballot& mine = meeting.ballot(meeting.rank(), number);
  mine.color = color;
  mine.key = key;
  mine.number.store(number);
  const auto limit = std::chrono::steady_clock::now() + TheRuntime().hang_limit;
  std::vector<std::pair<int, int>> members;  // key, rank
  for (int rank = 0; rank < meeting.ranks(); ++rank) {
    while (meeting.ballot(rank, number).number.load() < number) {
      if (whole.aborted || meeting.DeadRank() >= 0) return ncclRemoteError;
      if (std::chrono::steady_clock::now() > limit) return ncclSystemError;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    if (meeting.ballot(rank, number).color == color)
      members.emplace_back(meeting.ballot(rank, number).key, rank);
  }
  if (color == NCCL_SPLIT_NOCOLOR) return ncclSuccess;
  std::sort(members.begin(), members.end());
  const auto place = std::find(members.begin(), members.end(), std::pair(key, meeting.rank()));
  const std::string name = whole.name + "_" + std::to_string(number) + "_" + std::to_string(color);
  return Make(part, name, static_cast<int>(members.size()), static_cast<int>(place - members.begin()),
              IsBlocking(config));
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  return comm == nullptr ? ncclInvalidArgument : ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  return comm == nullptr ? ncclSuccess : End(comm);
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  if (comm == nullptr) return ncclSuccess;
  comm->state->aborted =
      true;  // first: a host that waits for work of this communicator holds the lock in turns
  comm->state->meeting->RemoveName();
  return End(comm);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  if (comm == nullptr || error == nullptr) return ncclInvalidArgument;
  Communicator& communicator = *comm->state;
  if (communicator.meeting->MissingRank() >= 0) {
    *error = ncclInProgress;
    return ncclSuccess;
  }
  communicator.meeting->RemoveName();
  const std::lock_guard<std::mutex> hold(TheRuntime().lock);
  communicator.PeersLive();
  *error = static_cast<ncclResult_t>(communicator.async_error.load());
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  if (comm == nullptr || count == nullptr) return ncclInvalidArgument;
  *count = comm->state->ranks();
  return ncclSuccess;
}
ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) {
  if (comm == nullptr || device == nullptr) return ncclInvalidArgument;
  *device = comm->state->device;
  return ncclSuccess;
}
ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  if (comm == nullptr || rank == nullptr) return ncclInvalidArgument;
  *rank = comm->state->rank();
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return Ask(
      {WorkKind::kAllReduce, static_cast<const char*>(send), static_cast<char*>(receive), count, type, op, 0},
      count, count, comm, stream);
}

ncclResult_t ncclReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                        int root, ncclComm_t comm, cudaStream_t stream) {
  if (comm == nullptr) return ncclInvalidArgument;
  return Ask(
      {WorkKind::kReduce, static_cast<const char*>(send), static_cast<char*>(receive), count, type, op, root},
      count, comm->state->rank() == root ? count : 0, comm, stream);
}

ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t receive_count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  if (comm == nullptr) return ncclInvalidArgument;
  const std::size_t sent = receive_count * static_cast<std::size_t>(comm->state->ranks());
  return Ask({WorkKind::kReduceScatter, static_cast<const char*>(send), static_cast<char*>(receive),
              receive_count, type, op, 0},
             sent, receive_count, comm, stream);
}

ncclResult_t ncclAllGather(const void* send, void* receive, size_t send_count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  if (comm == nullptr) return ncclInvalidArgument;
  const std::size_t received = send_count * static_cast<std::size_t>(comm->state->ranks());
  return Ask({WorkKind::kAllGather, static_cast<const char*>(send), static_cast<char*>(receive), send_count,
              type, ncclSum, 0},
             send_count, received, comm, stream);
}

ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  if (comm == nullptr) return ncclInvalidArgument;
  return Ask({WorkKind::kBroadcast, static_cast<const char*>(send), static_cast<char*>(receive), count, type,
              ncclSum, root},
             comm->state->rank() == root ? count : 0, count, comm, stream);
}

ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return Ask({WorkKind::kSend, static_cast<const char*>(send), nullptr, count, type, ncclSum, peer}, count, 0,
             comm, stream);
}

ncclResult_t ncclRecv(void* receive, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return Ask({WorkKind::kReceive, nullptr, static_cast<char*>(receive), count, type, ncclSum, peer}, 0, count,
             comm, stream);
}

ncclResult_t ncclGroupStart(void) {
  ++group_depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void) {
  if (group_depth == 0) return ncclInvalidUsage;
  return --group_depth > 0 || group.empty() ? ncclSuccess : Issue(&group);
}

}  // extern "C"
