// Tells the threads of one job to end, and ends the calls that they wait for.
//
// The kinds only rise. kCancel: a client cancelled; nothing new is begun, what is in flight is finished and
// recorded. kShutdown: the server goes down; the same, but the job stays as it is. kAbort: now; calls in
// flight are cancelled and nothing more is written. All functions are safe on any thread.
#ifndef SERVICES_JOBS_STOP_SIGNAL_H_
#define SERVICES_JOBS_STOP_SIGNAL_H_

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>

namespace grpc {
class ClientContext;
}

namespace retort::jobs {

class StopSignal {
 public:
  enum class Kind { kNone, kCancel, kShutdown, kAbort };

  // Raises the signal to `kind`; a lower or equal one changes nothing. kAbort cancels every registered call.
  void Raise(Kind kind);

  Kind kind() const;
  bool raised() const { return kind() != Kind::kNone; }
  bool aborted() const { return kind() == Kind::kAbort; }

  // Sleeps until `span` has passed or the signal is at least `kind`; true in the second case.
  bool SleepUnless(Kind kind, std::chrono::milliseconds span) const;

  // Registers a call for as long as the object lives. A call that begins after kAbort is cancelled at once.
  class Call {
   public:
    Call(StopSignal& signal, grpc::ClientContext& context);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    StopSignal& signal_;
    grpc::ClientContext& context_;
  };

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Kind kind_ = Kind::kNone;
  std::set<grpc::ClientContext*> calls_;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_STOP_SIGNAL_H_
