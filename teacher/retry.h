// When to ask again, and how long to wait before: bounded attempts, exponential back-off with full jitter,
// and whatever the endpoint itself asks for, up to a bound.
//
// Everything here is a pure function of its arguments; clock, sleep and chance come in through
// RetryEnvironment, so that a test replays an hour of waiting in no time.
#ifndef TEACHER_RETRY_H_
#define TEACHER_RETRY_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "teacher/teacher.h"

namespace retort::teacher {

struct RetryOptions {
  int attempts_max = 5;                           // HTTP attempts of one call, the first included; at least 1
  std::chrono::milliseconds backoff_first{500};   // bound of the first wait; doubles with each attempt
  std::chrono::milliseconds backoff_max{30'000};  // bound that doubling stops at
  std::chrono::milliseconds retry_after_max{
      300'000};  // a longer wait that the endpoint asks for ends the call
};

// The outside world, as far as waiting needs it. All functions must be thread-safe.
struct RetryEnvironment {
  std::function<std::chrono::steady_clock::time_point()> now;
  std::function<std::chrono::system_clock::time_point()> wall_now;  // for Retry-After dates
  std::function<double()> chance;                                   // uniform in [0, 1)
  // Waits, or returns early: Cancelled when limits.cancelled says so, DeadlineExceeded when limits.deadline
  // passes.
  std::function<absl::Status(std::chrono::milliseconds, const CallLimits&)> sleep;

  // The real one. `sleep` looks at limits every 50 ms.
  static RetryEnvironment Real();
};

// What an attempt's failure means for the next one.
enum class RetryClass : uint8_t {
  kNever,      // asking again gives the same, or costs again
  kTransient,  // 408, 409, 425, 500, 502, 504, a connection that failed
  kOverload,   // 503, 529: waits start four times as long
  kPace,       // 429: the endpoint says how long
};

// The class of an HTTP status alone; the body of a 429 can still turn it into kNever (openai_chat.h).
RetryClass ClassifyStatus(int status);

// The wait that a Retry-After header asks for (RFC 9110 section 10.2.3): seconds, seconds with a fraction, or
// an HTTP date (IMF-fixdate) relative to `wall_now`; a date that has passed is zero. nullopt when it is none
// of these. Waits above one day are cut to one day.
std::optional<std::chrono::milliseconds> ParseRetryAfter(std::string_view value,
                                                         std::chrono::system_clock::time_point wall_now);

// How long to wait before attempt `attempt + 1`, when `attempt` (from 1) has failed with `failure`; or
// `failure` with one sentence added that says why there is no further attempt: never for this class, attempts
// used up, the endpoint asks for more than retry_after_max, or the wait would end after limits.deadline. The
// wait is the larger of `retry_after` and chance * min(backoff_max, backoff_first * 2^(attempt-1)), where
// backoff_first counts four-fold for kOverload.
absl::StatusOr<std::chrono::milliseconds> NextWait(const RetryOptions& options, int attempt,
                                                   RetryClass retry_class,
                                                   std::optional<std::chrono::milliseconds> retry_after,
                                                   const absl::Status& failure, const CallLimits& limits,
                                                   std::chrono::steady_clock::time_point now, double chance);

}  // namespace retort::teacher

#endif  // TEACHER_RETRY_H_
