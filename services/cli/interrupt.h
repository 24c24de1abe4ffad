// Ctrl-C as an event instead of the end of the process.
#ifndef SERVICES_CLI_INTERRUPT_H_
#define SERVICES_CLI_INTERRUPT_H_

#include <atomic>
#include <functional>
#include <mutex>
#include <thread>

namespace retort::services {

// While one exists, SIGINT and SIGTERM are taken by a thread of its own: the first sets requested() and calls
// the callback, the second ends the process with 130. Create it before any other thread (a channel starts
// some), because threads inherit the blocked signals from their creator; child processes must unblock them
// (demo/child_process.h does). At most one at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const { return requested_.load(); }

  // Calls `callback` on the first signal, from the signal thread; at once when it has already come. Empty
  // removes it; when SetCallback returns, the former callback is not running and will not run again.
  void SetCallback(std::function<void()> callback);

 private:
  void Run();

  std::atomic<bool> requested_{false};
  std::mutex mutex_;
  std::function<void()> callback_;  // under mutex_
  int stop_event_;
  int signal_file_;
  std::thread thread_;
};

}  // namespace retort::services

#endif  // SERVICES_CLI_INTERRUPT_H_
