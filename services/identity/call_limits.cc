#include "services/identity/call_limits.h"

#include <algorithm>
#include <utility>

#include "services/edge/status.h"

namespace retort::services {
namespace {

using std::chrono::duration, std::chrono::duration_cast, std::chrono::milliseconds;

// Streams end when their clients like: a place a second is a guess that costs nobody much.
constexpr std::chrono::seconds kStreamsApart(1);

absl::Status Refused(const std::string& limit, int wanted, std::chrono::steady_clock::duration wait) {
  const auto back = duration_cast<milliseconds>(wait);
  return WithRetryAfter(
      WithReason(absl::ResourceExhaustedError(limit + ": wanted at most " + std::to_string(wanted) +
                                              "; come back in " + std::to_string(back.count()) + " ms"),
                 LIMIT_EXCEEDED, {{"limit", limit}, {"wanted_at_most", std::to_string(wanted)}}),
      back);
}

}  // namespace

struct CallLimits::Caller {
  double tokens = 0;
  Clock::time_point filled;    // when `tokens` was right
  Clock::time_point promised;  // the latest time that was given to a refused call of this caller
  int calls = 0, streams = 0;
};

CallLimits::CallLimits(CallLimitsOptions options) : options_(std::move(options)), between_ends_(kReturnMin) {}

CallLimits::~CallLimits() = default;

// The next place of a queue whose places are `apart`, as a time from now.
CallLimits::Clock::duration CallLimits::Promise(Clock::time_point& promised, Clock::time_point now,
                                                Clock::duration apart) const {
  promised =
      std::clamp<Clock::time_point>(std::max(promised, now) + apart, now + kReturnMin, now + kReturnMax);
  return promised - now;
}

absl::StatusOr<CallLimits::Ticket> CallLimits::Take(const std::string& identity, bool stream) {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = options_.now();
  std::unique_ptr<Caller>& kept = callers_[identity];
  if (kept == nullptr) {
    kept = std::make_unique<Caller>();
    kept->tokens = options_.burst;
    kept->filled = now;
  }
  Caller& caller = *kept;
  caller.tokens =
      std::min<double>(options_.burst, caller.tokens + duration<double>(now - caller.filled).count() *
                                                           options_.calls_per_second);
  caller.filled = now;
  if (caller.tokens < 1) {
    const auto refill = duration_cast<Clock::duration>(duration<double>(1.0 / options_.calls_per_second));
    return Refused("calls of this identity a second", options_.calls_per_second,
                   Promise(caller.promised, now, refill));
  }
  const Clock::duration apart = stream ? kStreamsApart : between_ends_;
  int& of_caller = stream ? caller.streams : caller.calls;
  const int of_caller_max = stream ? options_.streams_of_identity : options_.calls_of_identity;
  int& of_all = stream ? streams_ : calls_;
  const int of_all_max = stream ? options_.streams : options_.calls;
  if (of_caller >= of_caller_max) {
    return Refused(stream ? "streams of this identity" : "calls of this identity at once", of_caller_max,
                   Promise(caller.promised, now, apart));
  }
  if (of_all >= of_all_max) {
    return Refused(stream ? "streams of this server" : "calls of this server at once", of_all_max,
                   Promise(promised_, now, apart));
  }
  caller.tokens -= 1;
  if (!stream && calls_ == 0) last_end_ = now;
  ++of_caller;
  ++of_all;
  return Ticket(this, &caller, stream);
}

void CallLimits::Release(Caller& caller, bool stream) {
  const std::lock_guard lock(mutex_);
  --(stream ? caller.streams : caller.calls);
  --(stream ? streams_ : calls_);
  if (stream) return;
  const Clock::time_point now = options_.now();
  between_ends_ += (now - last_end_ - between_ends_) / 16;
  last_end_ = now;
}

}  // namespace retort::services
