// How much of a server one caller may take, and all callers together: calls a second, and calls open at once.
// Who is refused is told when to come back.
//
// Every caller has a token bucket, and a bound on the calls and on the streams that it has open; the server
// has a bound on each for all callers together. Refused callers are given times one after the other, so that
// those who keep to them do not come back all at once. The services of the deployment do not pass here: what
// they do is bounded by what they were asked.
//
//   auto ticket = limits.Take(caller.text(), /*stream=*/false);
//   if (!ticket.ok()) return ticket.status();
//   ...   // the call is open while the ticket lives
#ifndef SERVICES_IDENTITY_CALL_LIMITS_H_
#define SERVICES_IDENTITY_CALL_LIMITS_H_

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/status/statusor.h"

namespace retort::services {

struct CallLimitsOptions {
  // Of one identity: tokens a second, and how many it has after a rest.
  int calls_per_second = 200;
  int burst = 400;
  // Open at once.
  int calls_of_identity = 32;
  int calls = 192;
  int streams_of_identity = 32;
  int streams = 256;
  std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
};

// Nobody is told to come back sooner, or to stay away longer.
inline constexpr std::chrono::milliseconds kReturnMin{20};
inline constexpr std::chrono::milliseconds kReturnMax{10'000};

// Thread-safe. Outlives its tickets.
class CallLimits {
 public:
  class Ticket;

  explicit CallLimits(CallLimitsOptions options);
  ~CallLimits();

  // ResourceExhausted (LIMIT_EXCEEDED with RetryInfo; metadata `limit` and `wanted_at_most`) when a bound is
  // reached. `identity` is one that the access file knows: that bounds how many are remembered.
  absl::StatusOr<Ticket> Take(const std::string& identity, bool stream);

 private:
  using Clock = std::chrono::steady_clock;
  struct Caller;

  void Release(Caller& caller, bool stream);
  Clock::duration Promise(Clock::time_point& promised, Clock::time_point now, Clock::duration apart) const;

  const CallLimitsOptions options_;
  std::mutex mutex_;  // guards all below
  std::unordered_map<std::string, std::unique_ptr<Caller>> callers_;
  int calls_ = 0, streams_ = 0;
  Clock::time_point last_end_;    // of a call, while one or more were open
  Clock::time_point promised_;    // the latest time that was given to a refused caller
  Clock::duration between_ends_;  // mean time from the end of one call to the next
};

// An open call.
class CallLimits::Ticket {
 public:
  Ticket(Ticket&& other) noexcept
      : limits_(std::exchange(other.limits_, nullptr)), caller_(other.caller_), stream_(other.stream_) {}
  ~Ticket() {
    if (limits_ != nullptr) limits_->Release(*caller_, stream_);
  }

 private:
  friend class CallLimits;
  Ticket(CallLimits* limits, Caller* caller, bool stream)
      : limits_(limits), caller_(caller), stream_(stream) {}

  CallLimits* limits_;
  Caller* caller_;
  bool stream_;
};

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_CALL_LIMITS_H_
