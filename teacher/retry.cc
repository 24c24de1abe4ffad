#include "teacher/retry.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <random>
#include <string>
#include <thread>

namespace retort::teacher {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDay{24 * 60 * 60 * 1000};
constexpr int kOverloadFactor = 4;

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

std::optional<int> Number(std::string_view digits) {
  int value = 0;
  for (const char c : digits) {
    if (!IsDigit(c)) return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

// "120" or "1.5": digits, at most one point, something before it.
std::optional<milliseconds> ParseSeconds(std::string_view value) {
  if (value.empty() || !IsDigit(value.front())) return std::nullopt;
  const size_t whole = std::min(value.find('.'), value.size());
  for (size_t i = 0; i < value.size(); ++i) {
    if (i != whole && !IsDigit(value[i])) return std::nullopt;
  }
  if (whole > 9) return kDay;
  int64_t ms = 0;
  std::from_chars(value.data(), value.data() + whole, ms);
  ms *= 1000;
  int64_t unit = 100;
  for (size_t i = whole + 1; i < value.size() && unit > 0; ++i, unit /= 10) ms += (value[i] - '0') * unit;
  if (whole + 4 < value.size()) ms += 1;  // never a moment too early
  return std::min(milliseconds(ms), kDay);
}

// "Sun, 06 Nov 1994 08:49:37 GMT", the one form that RFC 9110 lets a server send.
std::optional<std::chrono::system_clock::time_point> ParseHttpDate(std::string_view value) {
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  if (value.size() != 29 || value.substr(3, 2) != ", " || value.substr(25) != " GMT" || value[7] != ' ' ||
      value[11] != ' ' || value[16] != ' ' || value[19] != ':' || value[22] != ':') {
    return std::nullopt;
  }
  const auto day = Number(value.substr(5, 2)), year = Number(value.substr(12, 4)),
             hour = Number(value.substr(17, 2)), minute = Number(value.substr(20, 2)),
             second = Number(value.substr(23, 2));
  const size_t month = kMonths.find(value.substr(8, 3));
  if (!day || !year || !hour || !minute || !second || month == std::string_view::npos || month % 3 != 0) {
    return std::nullopt;
  }
  const std::chrono::year_month_day date(std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(month / 3 + 1)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;  // 60: a leap second
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second);
}

absl::Status Ended(const absl::Status& failure, const std::string& why) {
  return absl::Status(failure.code(), std::string(failure.message()) + "; " + why);
}

std::string Seconds(milliseconds wait) {
  return std::to_string((wait.count() + 999) / 1000) + " s";
}

}  // namespace

RetryEnvironment RetryEnvironment::Real() {
  RetryEnvironment real;
  real.now = [] { return std::chrono::steady_clock::now(); };
  real.wall_now = [] { return std::chrono::system_clock::now(); };
  real.chance = [] {
    thread_local std::mt19937_64 generator{std::random_device{}()};
    return std::uniform_real_distribution<double>(0, 1)(generator);
  };
  real.sleep = [](milliseconds wait, const CallLimits& limits) -> absl::Status {
    const auto end = std::chrono::steady_clock::now() + wait;
    for (;;) {
      if (limits.cancelled && limits.cancelled())
        return absl::CancelledError("cancelled while waiting to ask again");
      const auto now = std::chrono::steady_clock::now();
      if (now >= limits.deadline)
        return absl::DeadlineExceededError("the deadline passed while waiting to ask again");
      if (now >= end) return absl::OkStatus();
      const auto slice = std::chrono::duration_cast<std::chrono::steady_clock::duration>(milliseconds(50));
      std::this_thread::sleep_until(std::min({end, limits.deadline, now + slice}));
    }
  };
  return real;
}

RetryClass ClassifyStatus(int status) {
  switch (status) {
    case 408:
    case 409:
    case 425:
    case 500:
    case 502:
    case 504:
      return RetryClass::kTransient;
    case 503:
    case 529:
      return RetryClass::kOverload;
    case 429:
      return RetryClass::kPace;
    default:
      return RetryClass::kNever;
  }
}

std::optional<milliseconds> ParseRetryAfter(std::string_view value,
                                            std::chrono::system_clock::time_point wall_now) {
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  if (const auto seconds = ParseSeconds(value)) return seconds;
  const auto date = ParseHttpDate(value);
  if (!date) return std::nullopt;
  const auto wait = std::chrono::ceil<milliseconds>(*date - wall_now);
  return std::clamp(wait, milliseconds(0), kDay);
}

absl::StatusOr<milliseconds> NextWait(const RetryOptions& options, int attempt, RetryClass retry_class,
                                      std::optional<milliseconds> retry_after, const absl::Status& failure,
                                      const CallLimits& limits, std::chrono::steady_clock::time_point now,
                                      double chance) {
  if (retry_class == RetryClass::kNever) return failure;
  if (attempt >= options.attempts_max)
    return Ended(failure, "gave up after " + std::to_string(attempt) + " attempts");
  if (retry_after && *retry_after > options.retry_after_max) {
    return Ended(failure, "the endpoint asks to wait " + Seconds(*retry_after) + ", at most " +
                              Seconds(options.retry_after_max) + " are waited here");
  }
  milliseconds bound = options.backoff_first * (retry_class == RetryClass::kOverload ? kOverloadFactor : 1);
  for (int i = 1; i < attempt && bound < options.backoff_max; ++i) bound *= 2;
  bound = std::min(bound, options.backoff_max);
  const milliseconds jitter(static_cast<int64_t>(static_cast<double>(bound.count()) * chance));
  const milliseconds wait = std::max(retry_after.value_or(milliseconds(0)), jitter);
  if (limits.deadline - now <= wait) {
    return Ended(failure, "the deadline leaves no time for attempt " + std::to_string(attempt + 1) +
                              " after a wait of " + Seconds(wait));
  }
  return wait;
}

}  // namespace retort::teacher
