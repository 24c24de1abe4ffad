// Where the processes of one training run meet before its first step, and learn how to reach each other.
//
// A rank calls and waits; when every rank of the layout waits at the same time, all are answered with rank
// 0's payload (an NCCL id, or the name of shared memory) and the meeting is over. Nothing is stored, so ranks
// that are started again meet again. A rank that gives up is taken out; one that comes again replaces itself.
//
//   Rendezvous rendezvous;
//   auto payload = rendezvous.Exchange(request, [&] { return context.IsCancelled(); });
//
// Every method may be called on any thread; Exchange blocks the calling one.
#ifndef SERVICES_JOBS_RENDEZVOUS_H_
#define SERVICES_JOBS_RENDEZVOUS_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "retort/jobs/v1/jobs.pb.h"

namespace retort::jobs {

class Rendezvous {
 public:
  // Ranks that wait at the same time, over all runs; each holds a thread of the server.
  static constexpr int kWaitingMax = 256;

  // The request is valid (validate.h). Returns rank 0's payload. Asked every 100 ms, `gone` says that the
  // caller has hung up.
  //
  // FailedPrecondition with RANKS_DIFFER: two ranks have another program, manifest or layout; both are named
  // with
  //   what they have, and all that wait for this run are refused.
  // Unavailable with RANKS_MISSING: ranks had not come when the caller's patience ended; they are named. Also
  // when
  //   the server stops.
  // Aborted: the same rank came again and took this one's place. Cancelled: gone. ResourceExhausted:
  // kWaitingMax.
  absl::StatusOr<std::string> Exchange(const v1::ExchangeRendezvousRequest& request,
                                       const std::function<bool()>& gone);

  // Ends all waiting, now and later.
  void Stop();

 private:
  struct Waiting {
    const v1::ExchangeRendezvousRequest* request;
    bool answered = false;
    absl::StatusOr<std::string> answer = std::string();
  };
  // By rank; the pointers are those of waiting callers.
  using Meeting = std::map<int, Waiting*>;

  static absl::Status CheckAgree(const v1::ExchangeRendezvousRequest& a,
                                 const v1::ExchangeRendezvousRequest& b);
  void Answer(Meeting& meeting, const absl::StatusOr<std::string>& answer);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Meeting> meetings_;  // by job uid and run
  int waiting_ = 0;
  bool stopped_ = false;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_RENDEZVOUS_H_
