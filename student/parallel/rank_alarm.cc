#include "student/parallel/rank_alarm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "student/parallel/rank_locks.h"

namespace retort::student {
namespace {

enum Presence : std::uint32_t { kAbsent, kHere, kLeft };
enum Alarm : std::uint32_t { kQuiet, kRaising, kRaised };

}  // namespace

// Zero is the beginning, so it does not matter who makes the page.
struct RankAlarm::Page {
  std::atomic<std::uint32_t> world;
  std::atomic<std::uint32_t> alarm;
  std::atomic<std::uint32_t> reason_bytes;
  char reason[kReasonBytesMax];
  std::atomic<std::uint32_t> ranks[kRanksMax];  // a Presence
};

RankAlarm::RankAlarm(std::string name, int rank, int world)
    : name_(std::move(name)), rank_(rank), world_(world) {
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free, "shared between processes");
}

std::unique_ptr<RankAlarm> RankAlarm::Open(const std::string& name, int rank, int world,
                                           std::string* problem) {
  if (!IsSharedMemoryName(name)) {
    *problem = "name of the ranks' alarm: '" + name.substr(0, 64) +
               "'; wanted / and 1 to 200 letters, digits, '-', '_' or '.'";
    return nullptr;
  }
  if (world < 1 || world > kRanksMax || rank < 0 || rank >= world) {
    *problem = "rank " + std::to_string(rank) + " of " + std::to_string(world) + "; wanted at most " +
               std::to_string(kRanksMax) + " ranks, counted from 0";
    return nullptr;
  }
  std::unique_ptr<RankAlarm> alarm(new RankAlarm(name, rank, world));
  const auto refuse = [&](const char* what, int error) {
    *problem = "alarm of the ranks " + name + ": " + what + ": " + std::strerror(error);
    return nullptr;
  };
  alarm->file_ = shm_open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (alarm->file_ < 0) return refuse("not made", errno);
  if (!LockRank(alarm->file_, rank)) {
    alarm->named_ = false;  // it is the other process's
    *problem = "alarm of the ranks " + name + ": another process is rank " + std::to_string(rank);
    return nullptr;
  }
  // Reserved now, so that a full /dev/shm is an error here and not a signal later.
  if (const int error = posix_fallocate(alarm->file_, 0, sizeof(Page)); error != 0)
    return refuse("no room", error);
  void* const memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, alarm->file_, 0);
  if (memory == MAP_FAILED) return refuse("not mapped", errno);
  alarm->page_ = static_cast<Page*>(memory);
  std::uint32_t seen = 0;
  if (!alarm->page_->world.compare_exchange_strong(seen, static_cast<std::uint32_t>(world)) &&
      seen != static_cast<std::uint32_t>(world)) {
    alarm->named_ = false;
    *problem = "alarm of the ranks " + name + ": made for " + std::to_string(seen) + " ranks; wanted " +
               std::to_string(world);
    return nullptr;
  }
  alarm->page_->ranks[rank] = kHere;
  return alarm;
}

RankAlarm::~RankAlarm() {
  if (page_ != nullptr) {
    if (page_->ranks[rank_] == kHere) page_->ranks[rank_] = kLeft;
    munmap(page_, sizeof(Page));
  }
  if (file_ >= 0) {
    RemoveName();
    close(file_);  // lets go of the lock
  }
}

void RankAlarm::RemoveName() {
  if (std::exchange(named_, false)) shm_unlink(name_.c_str());
}

void RankAlarm::Raise(std::string_view reason) {
  std::uint32_t quiet = kQuiet;
  if (!page_->alarm.compare_exchange_strong(quiet, kRaising)) return;
  const std::size_t bytes = std::min(reason.size(), kReasonBytesMax);
  std::memcpy(page_->reason, reason.data(), bytes);
  page_->reason_bytes = static_cast<std::uint32_t>(bytes);
  page_->alarm = kRaised;
}

std::string RankAlarm::Look() {
  if (page_->alarm == kRaised) {
    return std::string(page_->reason, std::min<std::size_t>(page_->reason_bytes, kReasonBytesMax));
  }
  for (int rank = 0; rank < world_; ++rank) {
    if (rank == rank_ || page_->ranks[rank] != kHere || RankIsLocked(file_, rank)) continue;
    if (page_->ranks[rank] != kHere) continue;  // it left between the two looks
    const std::string reason = "rank " + std::to_string(rank) + " ended in the middle of the run";
    Raise(reason);
    return reason;
  }
  return "";
}

std::string RankAlarm::Missing() const {
  std::string missing;
  for (int rank = 0; rank < world_; ++rank) {
    if (page_->ranks[rank] != kAbsent) continue;
    missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
  }
  return missing;
}

}  // namespace retort::student
