// A person's answer to samples that policy left to one: read from the ledger, signed by the policy service
// under the person's name, entered as REVIEW.
#ifndef SERVICES_JOBS_SAMPLE_REVIEWS_H_
#define SERVICES_JOBS_SAMPLE_REVIEWS_H_

#include <chrono>
#include <functional>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "services/jobs/job_context.h"

namespace retort::jobs {

struct ReviewCall {
  std::string name;     // projects/{project}/jobs/{job}/samples/{sample}
  std::string verdict;  // approve or reject
  std::string reason, etag, request_id;
  std::string reviewer;                             // identity of the caller
  std::function<std::chrono::milliseconds()> left;  // deadline of each call to a peer
};

// Thread-safe.
class SampleReviews {
 public:
  // `place` outlives the reviews.
  explicit SampleReviews(Workplace& place) : place_(place) {}

  // NotFound: no such job or sample. FailedPrecondition with SAMPLE_NOT_IN_REVIEW: policy did not ask for a
  // person, or the sample was erased. PermissionDenied with SEPARATION_OF_DUTIES: the caller submitted the
  // job. Aborted with ETAG_MISMATCH. InvalidArgument as ValidateReview, and with REQUEST_ID_REUSED.
  // FailedPrecondition with REVIEWS_UNAVAILABLE: the policy service has no reviewer key. Other errors are the
  // peers'. A review may be given again; the newest counts.
  absl::StatusOr<ledger::v1::Sample> Review(const ReviewCall& call);

 private:
  absl::StatusOr<ledger::v1::Sample> Enter(const ReviewCall& call, const v1::Job& job,
                                           const std::string& request_id);

  Workplace& place_;
  std::mutex mutex_;  // between reading what stands and entering the review
};

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_SAMPLE_REVIEWS_H_
