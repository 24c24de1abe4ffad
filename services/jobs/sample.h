// One call of the teacher, made into a ledger entry: extract, decide, append. Nobody else sees the answer
// before the append is acknowledged.
#ifndef SERVICES_JOBS_SAMPLE_H_
#define SERVICES_JOBS_SAMPLE_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "ledger/statement.h"
#include "services/jobs/pack_register.h"
#include "services/jobs/peer_call.h"
#include "services/jobs/peers.h"

namespace retort::jobs {

// A sample that is in the ledger.
struct RecordedSample {
  std::string effect;  // allow, review, deny
  int64_t entry = -1;  // its index; -1 when an earlier entry of the same request id stands instead
  int64_t completion_tokens = 0;
};

// How the second half goes about peers that are away.
struct RecordOptions {
  std::string project;
  Pauses pauses;
  StopSignal::Kind until = StopSignal::Kind::kShutdown;  // what ends the waiting
  std::function<void(std::string_view peer, const absl::Status&)> waiting;
  // Called with the decision after it is made and before it is appended: what must be durable before the
  // sample is.
  std::function<absl::Status(const ledger::DecisionStatement&, const ledger::CaptureStatement&)>
      before_append;
};

// Decides about an answer and appends it; waits for peers, since the answer is paid for. Errors: Cancelled
// when stopped; Internal when the policy service's answer is not a decision about this capture; else the
// peer's, which means that the answer could not be recorded.
absl::StatusOr<RecordedSample> Record(Peers& peers, PackRegister& packs, StopSignal& stop,
                                      const teacher::v1::ExtractResponse& answer,
                                      const policy::v1::Facts& facts, const RecordOptions& options);

// What an error of Extract means for the job.
enum class ExtractFailure {
  kAway,      // the teacher service was not reached, or went away: ask again when it is back
  kPassing,   // the endpoint is slow, limits or fails: ask again later
  kPrompt,    // this prompt is refused, or its answer is unreadable
  kEndpoint,  // no prompt can be answered: key refused, teacher not ready, request malformed
};
ExtractFailure Classify(const absl::Status& status);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_SAMPLE_H_
