#include "services/jobs/stop_signal.h"

#include <grpcpp/client_context.h>

namespace retort::jobs {

void StopSignal::Raise(Kind kind) {
  {
    std::lock_guard lock(mutex_);
    if (kind > kind_) kind_ = kind;
    if (kind_ == Kind::kAbort) {
      for (grpc::ClientContext* call : calls_) call->TryCancel();
    }
  }
  changed_.notify_all();
}

StopSignal::Kind StopSignal::kind() const {
  std::lock_guard lock(mutex_);
  return kind_;
}

bool StopSignal::SleepUnless(Kind kind, std::chrono::milliseconds span) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, span, [&] { return kind_ >= kind; });
}

StopSignal::Call::Call(StopSignal& signal, grpc::ClientContext& context)
    : signal_(signal), context_(context) {
  std::lock_guard lock(signal_.mutex_);
  signal_.calls_.insert(&context_);
  if (signal_.kind_ == Kind::kAbort) context_.TryCancel();
}

StopSignal::Call::~Call() {
  std::lock_guard lock(signal_.mutex_);
  signal_.calls_.erase(&context_);
}

}  // namespace retort::jobs
