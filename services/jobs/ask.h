// One question to a teacher outside any job, on the same path as every sample: policy first, then extract,
// decide, append, and only then the answer.
#ifndef SERVICES_JOBS_ASK_H_
#define SERVICES_JOBS_ASK_H_

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "services/jobs/job_context.h"

namespace retort::jobs {

// The id under which answers to single questions are kept; no job may have it.
inline constexpr char kAskJobId[] = "ask";

// Answers kept in memory for repeats of their request; a text is never stored outside the ledger's vault.
inline constexpr size_t kAnswersKept = 64;

// Thread-safe.
class Asker {
 public:
  // `place` outlives the asker.
  explicit Asker(Workplace& place) : place_(place) {}

  // Asks, records and answers. FailedPrecondition: policy denies the teacher (POLICY_DENIED, nothing was
  // sent), or this request was answered by an earlier process and its text is only in the ledger.
  // InvalidArgument with REQUEST_ID_REUSED. NotFound: no such teacher. Other errors are the peers'; ask again
  // with the same request id. `given_up` is asked while a peer is waited for: true when the caller has gone.
  absl::StatusOr<v1::AskTeacherResponse> Ask(const v1::AskTeacherRequest& request, StopSignal& stop,
                                             const std::function<bool()>& given_up);

 private:
  absl::Status Preflight(const std::string& project, const std::string& uid, const policy::v1::Facts& facts,
                         StopSignal& stop);
  void Keep(const std::string& uid, const v1::AskTeacherResponse& answer);

  Workplace& place_;
  std::mutex mutex_;
  std::map<std::string, v1::AskTeacherResponse> answers_;  // by uid
  std::deque<std::string> order_;
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_ASK_H_
