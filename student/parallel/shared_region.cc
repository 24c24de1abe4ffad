#include "student/parallel/shared_region.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "student/parallel/rank_locks.h"

namespace retort::student {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr char kMagic[] = "retort-ranks/1";
constexpr std::size_t kReasonBytesMax = 1024;
constexpr milliseconds kSleep(50);       // in a futex before looking around
constexpr milliseconds kLookEvery(250);  // at the locks of the other ranks
constexpr milliseconds kOpenEvery(20);   // while rank 0 has not made the memory
constexpr int kSpins = 200;              // before sleeping; a matched call is often only microseconds away
constexpr std::size_t kPage = 4096;

enum Ended : std::uint32_t { kRunning, kEnding, kEnded };

std::string Seconds(milliseconds time) {
  return std::to_string(time.count() / 1000) + "." + std::to_string(time.count() % 1000 / 100) + " s";
}

}  // namespace

struct SharedRegion::Header {
  struct Rank {
    std::atomic<std::uint32_t> here;
    std::uint32_t card_bytes;
    char card[kCardBytesMax];
    std::string text() const { return std::string(card, std::min<std::size_t>(card_bytes, kCardBytesMax)); }
  };
  char magic[sizeof(kMagic)];
  std::atomic<std::uint32_t> made;      // rank 0 has written what is above the ranks
  std::atomic<std::uint32_t> arrivals;  // ranks that have come; a word to wait on
  std::atomic<std::uint32_t> open;      // all have come and agree
  std::atomic<std::uint32_t> ended;
  std::int32_t data, experts;
  std::int64_t staging_bytes;
  char reason[kReasonBytesMax];
  Rank ranks[];

  static std::size_t Bytes(int world) {
    return (sizeof(Header) + static_cast<std::size_t>(world) * sizeof(Rank) + kPage - 1) / kPage * kPage;
  }
};

SharedRegion::SharedRegion(const SharedMemoryOptions& options) : options_(options) {}

SharedRegion::~SharedRegion() {
  if (header_ != nullptr) munmap(header_, mapped_);
  if (file_ >= 0) close(file_);  // lets go of the lock
}

std::size_t SharedRegion::BytesOf(const SharedMemoryOptions& options) {
  const auto world = static_cast<std::size_t>(options.place.layout.world());
  const std::size_t lines = (world * kGroupKinds * sizeof(RankLine) + kPage - 1) / kPage * kPage;
  return Header::Bytes(options.place.layout.world()) + lines +
         world * kGroupKinds * static_cast<std::size_t>(options.staging_bytes);
}

RankLine& SharedRegion::line(int rank, GroupKind kind) {
  std::byte* const lines = reinterpret_cast<std::byte*>(header_) + Header::Bytes(place().layout.world());
  return reinterpret_cast<RankLine*>(lines)[rank * kGroupKinds + static_cast<int>(kind)];
}

std::byte* SharedRegion::staging(int rank, GroupKind kind) {
  const int world = place().layout.world();
  std::byte* const end = reinterpret_cast<std::byte*>(header_) + mapped_;
  return end - static_cast<std::size_t>(world * kGroupKinds - (rank * kGroupKinds + static_cast<int>(kind))) *
                   staging_bytes();
}

std::unique_ptr<SharedRegion> SharedRegion::Join(const SharedMemoryOptions& options, std::string* problem,
                                                 bool* retry) {
  *retry = false;
  if (!IsSharedMemoryName(options.name)) {
    *problem = "name of the shared memory: '" + options.name.substr(0, 64) +
               "'; wanted / and 1 to 200 letters, digits, '-', '_' or '.'";
    return nullptr;
  }
  if (options.card.size() > kCardBytesMax) {
    *problem = "card: " + std::to_string(options.card.size()) + " bytes; wanted at most " +
               std::to_string(kCardBytesMax);
    return nullptr;
  }
  if (options.staging_bytes < 4096 || options.staging_bytes % 4096 != 0 ||
      options.staging_bytes > std::int64_t{1} << 30) {
    *problem = "staging bytes: " + std::to_string(options.staging_bytes) +
               "; wanted a multiple of 4096, at most 1 GiB";
    return nullptr;
  }
  std::unique_ptr<SharedRegion> region(new SharedRegion(options));
  const bool joined = options.place.rank == 0
                          ? region->Create(problem, retry) && region->GatherOthers(problem, retry)
                          : region->Attach(problem, retry) && region->AwaitOpening(problem, retry);
  if (!joined) return nullptr;
  return region;
}

bool SharedRegion::Map(std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
  if (memory == MAP_FAILED) return false;
  header_ = static_cast<Header*>(memory);
  mapped_ = bytes;
  return true;
}

bool SharedRegion::LockOwn() {
  return LockRank(file_, place().rank);
}

bool SharedRegion::Lives(int rank) const {
  return rank == place().rank || RankIsLocked(file_, rank);
}

int SharedRegion::Dead() const {
  for (int rank = 0; rank < place().layout.world(); ++rank) {
    if (!Lives(rank)) return rank;
  }
  return -1;
}

bool SharedRegion::Create(std::string* problem, bool* retry) {
  const auto refuse = [&](const char* what, int error) {
    *problem = "shared memory " + options_.name + ": " + what + ": " + std::strerror(error);
    *retry = true;
    return false;
  };
  // What is left of a run that died before all its ranks had come.
  if (const int stale = shm_open(options_.name.c_str(), O_RDWR | O_CLOEXEC, 0); stale >= 0) {
    const bool taken = RankIsLocked(stale, 0);
    close(stale);
    if (taken) {
      *problem = "shared memory " + options_.name + ": another rank 0 holds it; wanted one launch at a time";
      *retry = true;
      return false;
    }
    shm_unlink(options_.name.c_str());
  }
  file_ = shm_open(options_.name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file_ < 0) return refuse("not made", errno);
  if (!LockOwn()) return refuse("not locked", errno);
  const std::size_t bytes = BytesOf(options_);
  // Reserved now, so that a full /dev/shm is an error here and not a signal later.
  if (const int error = posix_fallocate(file_, 0, static_cast<off_t>(bytes)); error != 0) {
    shm_unlink(options_.name.c_str());
    return refuse((std::to_string(bytes) + " bytes").c_str(), error);
  }
  if (!Map(bytes)) {
    const int error = errno;
    shm_unlink(options_.name.c_str());
    return refuse("not mapped", error);
  }
  std::memcpy(header_->magic, kMagic, sizeof(kMagic));
  header_->data = place().layout.data;
  header_->experts = place().layout.experts;
  header_->staging_bytes = options_.staging_bytes;
  Header::Rank& own = header_->ranks[0];
  own.card_bytes = static_cast<std::uint32_t>(options_.card.size());
  std::memcpy(own.card, options_.card.data(), options_.card.size());
  own.here = 1;
  header_->made = 1;
  return true;
}

bool SharedRegion::GatherOthers(std::string* problem, bool* retry) {
  const auto give_up = Clock::now() + options_.join_patience;
  const int world = place().layout.world();
  const auto end = [&](const std::string& reason, bool again) {
    End(reason);
    *problem = this->reason();
    *retry = again;
    shm_unlink(options_.name.c_str());
    return false;
  };
  for (;;) {
    const std::uint32_t seen = header_->arrivals.load();
    if (ended()) return end("", false);
    std::vector<int> missing;
    for (int rank = 1; rank < world; ++rank) {
      Header::Rank& other = header_->ranks[rank];
      if (other.here.load() == 0) {
        missing.push_back(rank);
      } else if (other.text() != options_.card) {
        return end("rank " + std::to_string(rank) + " is '" + other.text() + "', rank 0 is '" +
                       options_.card + "'; wanted the same on all ranks",
                   false);
      } else if (!Lives(rank)) {
        return end("rank " + std::to_string(rank) + " ended before all ranks had come", true);
      }
    }
    if (missing.empty()) break;
    if (Clock::now() >= give_up) {
      std::string names;
      for (std::size_t i = 0; i < std::min<std::size_t>(missing.size(), 16); ++i) {
        names += (i == 0 ? "" : ", ") + std::to_string(missing[i]);
      }
      return end("of " + std::to_string(world) + " ranks " + std::to_string(missing.size()) +
                     " did not come within " + Seconds(options_.join_patience) + ": " + names +
                     (missing.size() > 16 ? ", ..." : ""),
                 true);
    }
    const timespec sleep = {0, kSleep / std::chrono::nanoseconds(1)};
    syscall(SYS_futex, &header_->arrivals, FUTEX_WAIT, seen, &sleep, nullptr, 0);
  }
  shm_unlink(options_.name.c_str());
  header_->open = 1;
  Wake(header_->open);
  return true;
}

bool SharedRegion::Attach(std::string* problem, bool* retry) {
  const auto give_up = Clock::now() + options_.join_patience;
  const auto close_file = [&] {
    if (header_ != nullptr) munmap(header_, mapped_);
    header_ = nullptr;
    if (file_ >= 0) close(file_);
    file_ = -1;
  };
  for (;; std::this_thread::sleep_for(kOpenEvery)) {
    if (Clock::now() >= give_up) {
      *problem = "rank 0 did not come within " + Seconds(options_.join_patience);
      *retry = true;
      return false;
    }
    close_file();
    file_ = shm_open(options_.name.c_str(), O_RDWR | O_CLOEXEC, 0);
    if (file_ < 0 && errno == ENOENT) continue;
    if (file_ < 0) {
      *problem = "shared memory " + options_.name + ": " + std::strerror(errno);
      *retry = false;
      return false;
    }
    struct stat info = {};
    if (fstat(file_, &info) != 0 || info.st_uid != geteuid()) {
      *problem = "shared memory " + options_.name + " belongs to user " + std::to_string(info.st_uid) +
                 "; wanted " + std::to_string(geteuid());
      *retry = false;
      return false;
    }
    // Not yet made, or left by a run that died: rank 0 of this launch will replace it.
    if (!RankIsLocked(file_, 0) || info.st_size < static_cast<off_t>(kPage)) continue;
    if (!Map(static_cast<std::size_t>(info.st_size))) continue;
    if (header_->made.load() == 0) continue;
    break;
  }
  const std::string layout = std::to_string(header_->data) + " data ranks, " +
                             std::to_string(header_->experts) + " expert ranks, staging of " +
                             std::to_string(header_->staging_bytes) + " bytes";
  if (std::memcmp(header_->magic, kMagic, sizeof(kMagic)) != 0 || header_->data != place().layout.data ||
      header_->experts != place().layout.experts || header_->staging_bytes != options_.staging_bytes ||
      mapped_ != BytesOf(options_)) {
    End("rank " + std::to_string(place().rank) + " was started with " + std::to_string(place().layout.data) +
        " data ranks, " + std::to_string(place().layout.experts) + " expert ranks, staging of " +
        std::to_string(options_.staging_bytes) + " bytes, rank 0 with " + layout +
        "; wanted the same on all ranks");
    Wake(header_->arrivals);
    *problem = reason();
    *retry = false;
    return false;
  }
  Header::Rank& own = header_->ranks[place().rank];
  if (!LockOwn() || own.here.load() != 0) {
    *problem = "rank " + std::to_string(place().rank) + " is taken by another process; wanted each rank once";
    *retry = false;
    return false;
  }
  own.card_bytes = static_cast<std::uint32_t>(options_.card.size());
  std::memcpy(own.card, options_.card.data(), options_.card.size());
  own.here = 1;
  ++header_->arrivals;
  Wake(header_->arrivals);
  return true;
}

bool SharedRegion::AwaitOpening(std::string* problem, bool* retry) {
  // Rank 0 counts its own patience from its own start, so this one waits as long again and a little more.
  const auto give_up = Clock::now() + options_.join_patience + std::chrono::seconds(5);
  while (header_->open.load() == 0) {
    const bool alive = Lives(0);
    if (ended()) {
      *problem = reason();
      *retry = problem->find("the same on all ranks") == std::string::npos;
      return false;
    }
    if ((!alive && header_->open.load() == 0) || Clock::now() >= give_up) {
      *problem = alive ? "rank 0 did not open the run within " + Seconds(options_.join_patience)
                       : "rank 0 ended before all ranks had come";
      *retry = true;
      return false;
    }
    const timespec sleep = {0, kSleep / std::chrono::nanoseconds(1)};
    syscall(SYS_futex, &header_->open, FUTEX_WAIT, 0, &sleep, nullptr, 0);
  }
  return true;
}

void SharedRegion::End(std::string_view reason) {
  std::uint32_t expected = kRunning;
  if (!header_->ended.compare_exchange_strong(expected, kEnding)) return;
  const std::size_t size = std::min(reason.size(), kReasonBytesMax - 1);
  std::memcpy(header_->reason, reason.data(), size);
  header_->reason[size] = '\0';
  header_->ended = kEnded;
}

bool SharedRegion::ended() const {
  return header_->ended.load() != kRunning;
}

std::string SharedRegion::reason() const {
  // Whoever ends a run writes the reason at once; only its death in that moment leaves none.
  const auto give_up = Clock::now() + kLookEvery;
  while (header_->ended.load() == kEnding && Clock::now() < give_up) std::this_thread::yield();
  switch (header_->ended.load()) {
    case kRunning:
      return "";
    case kEnding:
      return "a rank died while it was saying why the run ends";
    default:
      return header_->reason;
  }
}

void SharedRegion::Wake(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

bool SharedRegion::WaitFor(std::atomic<std::uint32_t>& word, int rank, const char* call,
                           const std::function<bool(std::uint32_t)>& ready) {
  for (int i = 0; i < kSpins; ++i) {
    if (ready(word.load(std::memory_order_acquire))) return !ended();
  }
  const auto begun = Clock::now();
  auto look = begun + kLookEvery;
  for (;;) {
    const std::uint32_t seen = word.load(std::memory_order_acquire);
    if (ended()) return false;
    if (ready(seen)) return true;
    const timespec sleep = {0, kSleep / std::chrono::nanoseconds(1)};
    syscall(SYS_futex, &word, FUTEX_WAIT, seen, &sleep, nullptr, 0);
    const auto now = Clock::now();
    if (now < look) continue;
    look = now + kLookEvery;
    const int dead = Dead();
    // A rank that has done all its calls may leave; then the word has what is waited for.
    if (ready(word.load(std::memory_order_acquire))) return !ended();
    if (dead >= 0) {
      End("rank " + std::to_string(dead) + " ended in the middle of the run");
    } else if (now - begun >= options_.patience) {
      End("rank " + std::to_string(rank) + " did not come to " + call + " within " +
          Seconds(options_.patience) + "; rank " + std::to_string(place().rank) + " waited");
    }
  }
}

}  // namespace retort::student
