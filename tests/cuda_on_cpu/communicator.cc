#include "tests/cuda_on_cpu/communicator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/cuda_on_cpu/reduction.h"

namespace retort::cuda_on_cpu {
namespace {

// Elements that each rank publishes for the whole collective.
std::size_t PublishedCount(const Work& work, int ranks) {
  return work.kind == WorkKind::kReduceScatter ? work.count * static_cast<std::size_t>(ranks) : work.count;
}

// Takes what this rank needs of elements [at, at + size), which every rank's chunk holds.
void TakeStep(const Work& work, const Meeting& meeting, std::size_t at, std::size_t size) {
  const std::size_t element = BytesOf(work.type);
  const int ranks = meeting.ranks(), rank = meeting.rank();
  const char* chunks[kRanksMax];
  for (int r = 0; r < ranks; ++r) chunks[r] = meeting.chunk(r);
  switch (work.kind) {
    case WorkKind::kReduce:
      if (rank != work.root) return;
      [[fallthrough]];
    case WorkKind::kAllReduce:
      Reduce(work.type, work.op, chunks, ranks, work.receive + at * element, size);
      return;
    case WorkKind::kReduceScatter: {
      const std::size_t mine = work.count * static_cast<std::size_t>(rank);
      const std::size_t begin = std::max(at, mine), end = std::min(at + size, mine + work.count);
      if (begin >= end) return;
      for (int r = 0; r < ranks; ++r) chunks[r] += (begin - at) * element;
      Reduce(work.type, work.op, chunks, ranks, work.receive + (begin - mine) * element, end - begin);
      return;
    }
    case WorkKind::kAllGather:
      for (int r = 0; r < ranks; ++r) {
        std::memcpy(work.receive + (static_cast<std::size_t>(r) * work.count + at) * element, chunks[r],
                    size * element);
      }
      return;
    default:
      std::memcpy(work.receive + at * element, chunks[work.root], size * element);
  }
}

}  // namespace

const char* NameOf(WorkKind kind) {
  constexpr const char* kNames[] = {"ncclAllReduce", "ncclReduce", "ncclReduceScatter", "ncclAllGather",
                                    "ncclBroadcast", "ncclSend",   "ncclRecv"};
  return kNames[static_cast<int>(kind)];
}

void Communicator::Fail(ncclResult_t error, const std::string& text) {
  const std::lock_guard<std::mutex> hold(text_lock);
  last_error = text;
  async_error = error;
}

bool Communicator::PeersLive() {
  if (async_error != ncclSuccess) return false;
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_for_dead < std::chrono::milliseconds(2)) return true;
  looked_for_dead = now;
  const int dead = meeting->DeadRank();
  if (dead < 0) return true;
  Fail(ncclRemoteError, "the process of rank " + std::to_string(dead) + " is gone");
  return false;
}

GroupWork::GroupWork(std::shared_ptr<Communicator> communicator, std::vector<Work> work, bool in_graph)
    : communicator_(std::move(communicator)),
      work_(std::move(work)),
      in_graph_(in_graph),
      turn_(in_graph ? 0 : communicator_->issued++),
      states_(work_.size()) {}

bool GroupWork::Progress() {
  Communicator& communicator = *communicator_;
  if (communicator.aborted) {
    Finish();
    return true;
  }
  const bool my_turn = in_graph_ || communicator.next == turn_;
  if (!my_turn || (communicator.active != nullptr && communicator.active != this)) return false;
  if (!communicator.PeersLive()) return false;
  communicator.active = this;
  bool collective_waits = false, all_done = true;
  for (std::size_t i = 0; i < work_.size(); ++i) {
    State& state = states_[i];
    if (state.done) continue;
    if (work_[i].kind >= WorkKind::kSend) {
      ProgressMessage(work_[i], &state);
    } else if (!collective_waits) {
      state.done = ProgressCollective(work_[i], &state);
      collective_waits = !state.done;
    }
    all_done = all_done && state.done;
  }
  if (!all_done) return false;
  Finish();
  return true;
}

void GroupWork::Finish() {
  if (communicator_->active == this) communicator_->active = nullptr;
  if (!in_graph_) ++communicator_->next;
  std::fill(states_.begin(), states_.end(), State{});
}

bool GroupWork::ProgressCollective(const Work& work, State* state) {
  Communicator& communicator = *communicator_;
  const Meeting& meeting = *communicator.meeting;
  Meeting::Channel& mine = meeting.channel(meeting.rank());
  const std::size_t element = BytesOf(work.type);
  const std::size_t total = PublishedCount(work, meeting.ranks());
  const CallShape shape = {static_cast<std::int32_t>(work.kind), work.type, work.op, work.root, work.count};
  while (state->at < total) {
    const std::size_t size = std::min(total - state->at, kChunkBytes / element);
    if (!state->published) {
      for (int rank = 0; rank < meeting.ranks(); ++rank) {
        if (meeting.channel(rank).consumed.load() < communicator.steps) return false;
      }
      const bool publishes = work.kind != WorkKind::kBroadcast || meeting.rank() == work.root;
      if (publishes)
        std::memcpy(meeting.chunk(meeting.rank()), work.send + state->at * element, size * element);
      mine.shape = shape;
      mine.written.store(communicator.steps + 1);
      state->published = true;
    }
    for (int rank = 0; rank < meeting.ranks(); ++rank) {
      if (meeting.channel(rank).written.load() <= communicator.steps) return false;
    }
    CheckShapes(shape);
    TakeStep(work, meeting, state->at, size);
    ++communicator.steps;
    mine.consumed.store(communicator.steps);
    state->at += size;
    state->published = false;
  }
  return true;
}

void GroupWork::CheckShapes(const CallShape& mine) const {
  const Meeting& meeting = *communicator_->meeting;
  for (int rank = 0; rank < meeting.ranks(); ++rank) {
    const CallShape& other = meeting.channel(rank).shape;
    if (other == mine) continue;
    std::fprintf(stderr,
                 "cuda_on_cpu: ranks differ: rank %d calls %s of %llu (type %d, op %d, root %d), rank %d "
                 "calls %s of %llu "
                 "(type %d, op %d, root %d)\n",
                 meeting.rank(), NameOf(static_cast<WorkKind>(mine.kind)),
                 static_cast<unsigned long long>(mine.count), mine.type, mine.op, mine.root, rank,
                 NameOf(static_cast<WorkKind>(other.kind)), static_cast<unsigned long long>(other.count),
                 other.type, other.op, other.root);
    std::abort();
  }
}

void GroupWork::ProgressMessage(const Work& work, State* state) {
  const Meeting& meeting = *communicator_->meeting;
  const std::size_t total = work.count * BytesOf(work.type);
  const bool sends = work.kind == WorkKind::kSend;
  const int from = sends ? meeting.rank() : work.root, to = sends ? work.root : meeting.rank();
  Meeting::Mailbox& mailbox = meeting.mailbox(from, to);
  const bool full = mailbox.written.load() > mailbox.consumed.load();
  if (sends) {
    if (full) return;
    if (state->at == total) {  // the receiver took the last part
      state->done = true;
      return;
    }
    mailbox.bytes = std::min(kMailBytes, total - state->at);
    mailbox.message_bytes = total;
    std::memcpy(meeting.mail(from, to), work.send + state->at, mailbox.bytes);
    state->at += mailbox.bytes;
    mailbox.written.fetch_add(1);
    return;
  }
  if (!full) return;
  if (mailbox.message_bytes != total) {
    std::fprintf(stderr, "cuda_on_cpu: rank %d sends %llu bytes to rank %d, which expects %zu\n", from,
                 static_cast<unsigned long long>(mailbox.message_bytes), to, total);
    std::abort();
  }
  std::memcpy(work.receive + state->at, meeting.mail(from, to), mailbox.bytes);
  state->at += mailbox.bytes;
  mailbox.consumed.fetch_add(1);
  state->done = state->at == total;
}

}  // namespace retort::cuda_on_cpu
