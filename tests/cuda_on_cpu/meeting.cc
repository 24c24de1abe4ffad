#include "tests/cuda_on_cpu/meeting.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

namespace retort::cuda_on_cpu {

// Fresh shared memory is zero, which is the start of every field.
struct Meeting::Shared {
  std::atomic<std::int32_t> ranks;  // 0 until the first rank has set it
  std::atomic<std::int32_t> joined[kRanksMax];
  std::atomic<std::int32_t> left[kRanksMax];
  Channel channels[kRanksMax];
  Ballot ballots[kRanksMax][2];
  Mailbox mailboxes[kRanksMax][kRanksMax];
};

namespace {

// A lock on byte `rank` of the object, held while the process lives: the kernel gives it up for one that
// dies.
bool Lock(int file, int rank) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return fcntl(file, F_OFD_SETLK, &lock) == 0;
}

bool IsLocked(int file, int rank) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return fcntl(file, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

constexpr std::size_t kHeaderBytes = 65536;

}  // namespace

std::unique_ptr<Meeting> Meeting::Join(const std::string& name, int ranks, int rank, std::string* reason) {
  static_assert(sizeof(Shared) <= kHeaderBytes);
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
  std::unique_ptr<Meeting> meeting(new Meeting);
  meeting->name_ = name;
  meeting->ranks_ = ranks;
  meeting->rank_ = rank;
  const auto size = static_cast<std::size_t>(ranks);
  meeting->bytes_ = kHeaderBytes + size * kChunkBytes + size * size * kMailBytes;
  meeting->file_ = shm_open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  // Every rank sets the same size, which changes nothing for the second; a different one is refused below.
  struct stat status = {};
  if (meeting->file_ < 0 || fstat(meeting->file_, &status) != 0 ||
      (status.st_size == 0 && ftruncate(meeting->file_, static_cast<off_t>(meeting->bytes_)) != 0)) {
    *reason = "shared memory " + name + ": " + std::strerror(errno);
    return nullptr;
  }
  if (fstat(meeting->file_, &status) != 0 || static_cast<std::size_t>(status.st_size) != meeting->bytes_) {
    *reason = "another rank joined with another number of ranks than " + std::to_string(ranks);
    return nullptr;
  }
  void* mapping = mmap(nullptr, meeting->bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, meeting->file_, 0);
  if (mapping == MAP_FAILED) {
    *reason = "shared memory " + name + ": " + std::strerror(errno);
    return nullptr;
  }
  meeting->shared_ = static_cast<Shared*>(mapping);
  if (!Lock(meeting->file_, rank) || meeting->shared_->joined[rank].load() != 0) {
    *reason = "rank " + std::to_string(rank) + " has joined already";
    munmap(mapping, meeting->bytes_);
    meeting->shared_ = nullptr;
    return nullptr;
  }
  meeting->shared_->joined[rank].store(1);
  return meeting;
}

Meeting::~Meeting() {
  if (shared_ != nullptr) {
    Leave();
    RemoveName();
    munmap(shared_, bytes_);
  }
  if (file_ >= 0) close(file_);
}

void Meeting::RemoveName() {
  if (named_.exchange(false)) shm_unlink(name_.c_str());
}

void Meeting::RemoveAbandoned(const std::string& prefix) {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm", none)) {
    const std::string name = "/" + entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    const pid_t maker = std::atoi(name.c_str() + prefix.size());
    if (maker > 0 && kill(maker, 0) != 0 && errno == ESRCH) shm_unlink(name.c_str());
  }
}

void Meeting::Leave() {
  shared_->left[rank_].store(1);
}

int Meeting::MissingRank() const {
  for (int rank = 0; rank < ranks_; ++rank) {
    if (shared_->joined[rank].load() == 0) return rank;
  }
  return -1;
}

int Meeting::DeadRank() const {
  for (int rank = 0; rank < ranks_; ++rank) {
    if (rank == rank_ || shared_->joined[rank].load() == 0 || shared_->left[rank].load() != 0) continue;
    if (!IsLocked(file_, rank) && shared_->left[rank].load() == 0) return rank;
  }
  return -1;
}

Meeting::Channel& Meeting::channel(int rank) const {
  return shared_->channels[rank];
}
Meeting::Ballot& Meeting::ballot(int rank, std::uint64_t number) const {
  return shared_->ballots[rank][number % 2];
}
Meeting::Mailbox& Meeting::mailbox(int from, int to) const {
  return shared_->mailboxes[from][to];
}

char* Meeting::chunk(int rank) const {
  return reinterpret_cast<char*>(shared_) + kHeaderBytes + static_cast<std::size_t>(rank) * kChunkBytes;
}
char* Meeting::mail(int from, int to) const {
  const auto ranks = static_cast<std::size_t>(ranks_);
  return reinterpret_cast<char*>(shared_) + kHeaderBytes + ranks * kChunkBytes +
         (static_cast<std::size_t>(from) * ranks + static_cast<std::size_t>(to)) * kMailBytes;
}

}  // namespace retort::cuda_on_cpu
