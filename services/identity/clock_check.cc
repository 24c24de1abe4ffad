#include "services/identity/clock_check.h"

#include <time.h>

namespace retort::services {
namespace {

std::string Text(std::chrono::system_clock::time_point time) {
  const time_t seconds = std::chrono::system_clock::to_time_t(time);
  tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

std::chrono::system_clock::time_point BuildDay() {
  tm parts{};
  strptime(RETORT_BUILD_DAY, "%Y-%m-%d", &parts);
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

absl::Status CheckClock(std::chrono::system_clock::time_point now,
                        std::chrono::system_clock::time_point passed, const std::string& what) {
  if (now + kClockSlack >= passed) return absl::OkStatus();
  return absl::FailedPreconditionError("this machine's clock says " + Text(now) + ", which is before " +
                                       what + " (" + Text(passed) + ") by more than " +
                                       std::to_string(kClockSlack.count()) + " minutes: set the clock");
}

}  // namespace retort::services
