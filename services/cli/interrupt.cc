#include "services/cli/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cassert>
#include <utility>

#include "services/cli/exit_code.h"

namespace retort::services {
namespace {

sigset_t Signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

Interrupt::Interrupt() {
  const sigset_t set = Signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  stop_event_ = eventfd(0, EFD_CLOEXEC);
  signal_file_ = signalfd(-1, &set, SFD_CLOEXEC);
  assert(stop_event_ >= 0 && signal_file_ >= 0);  // only a process without file descriptors left fails here
  thread_ = std::thread([this] { Run(); });
}

Interrupt::~Interrupt() {
  eventfd_write(stop_event_, 1);
  thread_.join();
  close(signal_file_);
  close(stop_event_);
  const sigset_t set = Signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void Interrupt::SetCallback(std::function<void()> callback) {
  std::lock_guard lock(mutex_);
  callback_ = std::move(callback);
  if (callback_ && requested_) callback_();
}

void Interrupt::Run() {
  for (;;) {
    pollfd files[2] = {{signal_file_, POLLIN, 0}, {stop_event_, POLLIN, 0}};
    if (poll(files, 2, -1) < 0) continue;  // EINTR
    if (files[1].revents != 0) return;
    if (files[0].revents == 0) continue;
    signalfd_siginfo info;
    if (read(signal_file_, &info, sizeof info) != sizeof info) continue;
    if (requested_.exchange(true)) _exit(kExitInterrupted);
    std::lock_guard lock(mutex_);
    if (callback_) callback_();
  }
}

}  // namespace retort::services
