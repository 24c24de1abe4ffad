// Does one thing again and again on a thread of its own, until it is destroyed.
#ifndef SERVICES_IDENTITY_PERIODIC_H_
#define SERVICES_IDENTITY_PERIODIC_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace retort::services {

// The first time is one `interval` after construction. The destructor waits for a call under way.
class Periodic {
 public:
  Periodic(std::chrono::milliseconds interval, std::function<void()> act)
      : thread_([this, interval, act = std::move(act)] {
          std::unique_lock lock(mutex_);
          while (!stop_.wait_for(lock, interval, [this] { return stopping_; })) {
            lock.unlock();
            act();
            lock.lock();
          }
        }) {}
  ~Periodic() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    stop_.notify_all();
    thread_.join();
  }
  Periodic(const Periodic&) = delete;
  Periodic& operator=(const Periodic&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;     // last: it uses the others
};

}  // namespace retort::services

#endif  // SERVICES_IDENTITY_PERIODIC_H_
