// When something that failed may be tried again: at once at first, then after pauses that double from 200 ms
// to 10 s, or after the one that the server asked for, up to a minute. For one thread.
#ifndef SERVICES_KUBERNETES_PAUSE_H_
#define SERVICES_KUBERNETES_PAUSE_H_

#include <algorithm>
#include <chrono>

#include "absl/status/status.h"
#include "services/kubernetes/api_error.h"

namespace retort::kubernetes {

class Pause {
 public:
  using Clock = std::chrono::steady_clock;

  bool Over() const { return Clock::now() >= until_; }

  // After a failure.
  void Begin(const absl::Status& why) {
    constexpr std::chrono::milliseconds kFirst(200), kLongest(10'000);
    constexpr std::chrono::seconds kAskedForMax(60);
    const auto own = std::min(kLongest, kFirst * (1 << std::min(failures_++, 10)));
    const auto asked_for = RetryAfter(why);
    until_ = Clock::now() + (asked_for ? std::chrono::milliseconds(std::min(*asked_for, kAskedForMax)) : own);
  }

  // After a success.
  void Reset() {
    failures_ = 0;
    until_ = {};
  }

 private:
  int failures_ = 0;
  Clock::time_point until_;
};

}  // namespace retort::kubernetes

#endif  // SERVICES_KUBERNETES_PAUSE_H_
