#include "student/parallel/shared_collectives.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace retort::student {
namespace {

// Rounds go round; two counters of one group are never further apart than one.
bool Reached(std::uint32_t counter, std::uint32_t round) {
  return static_cast<std::int32_t>(counter - round) >= 0;
}

// The k-th piece of a part.
Part Piece(const Part& part, std::int64_t k, std::int64_t length) {
  const std::int64_t begin = std::min(part.end, part.begin + k * length);
  return {begin, std::min(part.end, begin + length)};
}

std::int64_t Rounds(std::span<const Part> parts, std::int64_t length) {
  std::int64_t longest = 0;
  for (const Part& part : parts) longest = std::max(longest, part.size());
  return (longest + length - 1) / length;
}

}  // namespace

SharedCollectives::SharedCollectives(SharedRegion& region, GroupKind kind, std::vector<int> members)
    : region_(region), kind_(kind), members_(std::move(members)) {
  const auto self = std::find(members_.begin(), members_.end(), region.place().rank);
  assert(self != members_.end());
  rank_ = static_cast<int>(self - members_.begin());
}

bool SharedCollectives::Round(const char* call, const std::function<void()>& write,
                              const std::function<void(int)>& read) {
  const std::uint32_t last = round_++;
  if (region_.ended()) return false;
  for (int r = 0; r < size(); ++r) {
    if (r == rank_) continue;
    if (!region_.WaitFor(line(r).taken, members_[r], call,
                         [&](std::uint32_t taken) { return Reached(taken, last); }))
      return false;
  }
  if (write) write();
  RankLine& own = line(rank_);
  own.posted.store(round_, std::memory_order_release);
  SharedRegion::Wake(own.posted);
  for (int r = 0; r < size(); ++r) {
    if (r != rank_ && !region_.WaitFor(line(r).posted, members_[r], call,
                                       [&](std::uint32_t posted) { return Reached(posted, round_); })) {
      return false;
    }
    if (read) read(r);
  }
  own.taken.store(round_, std::memory_order_release);
  SharedRegion::Wake(own.taken);
  return true;
}

bool SharedCollectives::ReduceScatter(float* data, std::span<const Part> parts, Stream) {
  assert(static_cast<int>(parts.size()) == size());
  // One slot of the staging area for each rank that gets a part.
  const std::int64_t length =
      static_cast<std::int64_t>(region_.staging_bytes() / sizeof(float)) / size() / 16 * 16;
  const auto slot = [&](int from, int to) {
    return reinterpret_cast<const float*>(staging(from)) + to * length;
  };
  const std::int64_t rounds = Rounds(parts, length);
  for (std::int64_t k = 0; k < rounds; ++k) {
    const Part own = Piece(parts[rank_], k, length);
    const auto write = [&] {
      for (int r = 0; r < size(); ++r) {
        if (r == rank_) continue;
        const Part piece = Piece(parts[r], k, length);
        std::memcpy(reinterpret_cast<float*>(staging(rank_)) + r * length, data + piece.begin,
                    static_cast<std::size_t>(piece.size()) * sizeof(float));
      }
    };
    // Ranks are read in rising order, so this is the sum in rank order.
    const auto read = [&](int r) {
      const float* const values = r == rank_ ? data + own.begin : slot(r, rank_);
      if (r == 0) {
        sum_.assign(values, values + own.size());
      } else {
        for (std::int64_t i = 0; i < own.size(); ++i) sum_[static_cast<std::size_t>(i)] += values[i];
      }
    };
    if (!Round("a reduction", write, read)) return false;
    std::copy(sum_.begin(), sum_.end(), data + own.begin);
  }
  return !region_.ended();
}

bool SharedCollectives::AllGather(float* data, std::span<const Part> parts, Stream) {
  assert(static_cast<int>(parts.size()) == size());
  const auto length = static_cast<std::int64_t>(region_.staging_bytes() / sizeof(float));
  const std::int64_t rounds = Rounds(parts, length);
  for (std::int64_t k = 0; k < rounds; ++k) {
    const auto copy = [&](void* to, const void* from, const Part& piece) {
      std::memcpy(to, from, static_cast<std::size_t>(piece.size()) * sizeof(float));
    };
    const auto write = [&] {
      const Part own = Piece(parts[rank_], k, length);
      copy(staging(rank_), data + own.begin, own);
    };
    const auto read = [&](int r) {
      if (r == rank_) return;
      const Part piece = Piece(parts[r], k, length);
      copy(data + piece.begin, staging(r), piece);
    };
    if (!Round("a gather", write, read)) return false;
  }
  return !region_.ended();
}

bool SharedCollectives::Broadcast(void* data, std::int64_t bytes, int root, Stream) {
  const auto length = static_cast<std::int64_t>(region_.staging_bytes());
  for (std::int64_t begin = 0; begin < bytes; begin += length) {
    const auto count = static_cast<std::size_t>(std::min(length, bytes - begin));
    std::byte* const here = static_cast<std::byte*>(data) + begin;
    const auto write = [&] {
      if (rank_ == root) std::memcpy(staging(root), here, count);
    };
    const auto read = [&](int r) {
      if (r == root && rank_ != root) std::memcpy(here, staging(root), count);
    };
    if (!Round("a broadcast", write, read)) return false;
  }
  return !region_.ended();
}

bool SharedCollectives::AllToAll(const void* send, std::span<const Part> sends, void* receive,
                                 std::span<const Part> receives, Stream) {
  assert(static_cast<int>(sends.size()) == size() && static_cast<int>(receives.size()) == size());
  assert(sends[rank_].size() == receives[rank_].size());
  const auto length = static_cast<std::int64_t>(region_.staging_bytes()) / size() / 64 * 64;
  const std::byte* const from = static_cast<const std::byte*>(send);
  std::byte* const to = static_cast<std::byte*>(receive);
  const auto copy = [](std::byte* target, const std::byte* source, const Part& piece) {
    if (piece.size() > 0) std::memcpy(target, source, static_cast<std::size_t>(piece.size()));
  };
  copy(to + receives[rank_].begin, from + sends[rank_].begin, sends[rank_]);
  // How many rounds are needed only each sender knows: all go on while any of them says that it has more.
  bool more = true;
  for (std::int64_t k = 0; more; ++k) {
    more = false;
    const auto write = [&] {
      std::uint32_t rest = 0;
      for (int r = 0; r < size(); ++r) {
        if (r == rank_) continue;
        const Part piece = Piece(sends[r], k, length);
        copy(staging(rank_) + r * length, from + piece.begin, piece);
        if (piece.end < sends[r].end) rest = 1;
      }
      line(rank_).more.store(rest, std::memory_order_relaxed);  // published by the round
    };
    const auto read = [&](int r) {
      if (line(r).more.load(std::memory_order_relaxed) != 0) more = true;
      if (r == rank_) return;
      const Part piece = Piece(receives[r], k, length);
      copy(to + piece.begin, staging(r) + rank_ * length, piece);
    };
    if (!Round("an exchange of tokens", write, read)) return false;
  }
  return !region_.ended();
}

template <typename T>
bool SharedCollectives::Sum(std::span<T> values) {
  const std::size_t length = region_.staging_bytes() / sizeof(T);
  for (std::size_t begin = 0; begin < values.size(); begin += length) {
    const std::span<T> piece = values.subspan(begin, std::min(length, values.size() - begin));
    std::vector<T> sums(piece.size());
    const auto write = [&] { std::memcpy(staging(rank_), piece.data(), piece.size_bytes()); };
    const auto read = [&](int r) {
      const T* const other = reinterpret_cast<const T*>(staging(r));
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = r == 0 ? other[i] : sums[i] + other[i];
    };
    if (!Round("a sum", write, read)) return false;
    std::copy(sums.begin(), sums.end(), piece.begin());
  }
  return !region_.ended();
}

bool SharedCollectives::SumHost(std::span<double> values) {
  return Sum(values);
}

bool SharedCollectives::SumHost(std::span<std::int64_t> values) {
  return Sum(values);
}

bool SharedCollectives::AllGatherHost(std::span<const std::int64_t> mine, std::span<std::int64_t> all) {
  assert(all.size() == mine.size() * members_.size());
  const std::size_t length = region_.staging_bytes() / sizeof(std::int64_t);
  std::fill(all.begin(), all.end(), 0);
  for (std::size_t begin = 0; begin < mine.size(); begin += length) {
    const auto piece = mine.subspan(begin, std::min(length, mine.size() - begin));
    const auto write = [&] { std::memcpy(staging(rank_), piece.data(), piece.size_bytes()); };
    const auto read = [&](int r) {
      std::memcpy(all.data() + static_cast<std::size_t>(r) * mine.size() + begin, staging(r),
                  piece.size_bytes());
    };
    if (!Round("a gather of counts", write, read)) {
      std::fill(all.begin(), all.end(), 0);
      return false;
    }
  }
  return !region_.ended();
}

bool SharedCollectives::Barrier() {
  return Round("a barrier", nullptr, nullptr);
}

bool SharedCollectives::Finish(Stream) {
  return !region_.ended();
}

}  // namespace retort::student
