// Refuses to start on a clock that is plainly wrong: times in the ledger are signed and stay.
#ifndef SERVICES_IDENTITY_CLOCK_CHECK_H_
#define SERVICES_IDENTITY_CLOCK_CHECK_H_

#include <chrono>
#include <string>

#include "absl/status/status.h"

namespace retort::services {

// How far the clock may stand behind a time that has certainly passed. Clocks of machines that synchronise
// differ by less than a second; this leaves room for one that was set by hand.
inline constexpr std::chrono::minutes kClockSlack{10};

// The day on which this program was built (SOURCE_DATE_EPOCH, when the build had one), at midnight UTC.
std::chrono::system_clock::time_point BuildDay();

// FailedPrecondition when `now` is more than kClockSlack before `passed`, a time that has passed for certain:
// the build, or the newest entry of a log. `what` names it in the message. Certificates have their own check
// (services/identity/certificate.h).
absl::Status CheckClock(std::chrono::system_clock::time_point now,
                        std::chrono::system_clock::time_point passed, const std::string& what);

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_CLOCK_CHECK_H_
