// What comes with a call, for the services that check it apart from doing it: the first byte picks the
// message, the rest is its wire form. Whatever the bytes, checking ends, and a refusal is InvalidArgument
// with a reason.
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>

#include "services/edge/status.h"
#include "services/jobs/validate.h"
#include "services/policy/validate.h"
#include "services/teacher/validate.h"

namespace {

const absl::Status& StatusOf(const absl::Status& status) {
  return status;
}
template <class T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

template <class Request>
void Check(const uint8_t* data, size_t size) {
  Request request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return;
  using retort::jobs::Validate;
  using retort::services::Validate;
  const auto checked = Validate(request);
  const absl::Status& status = StatusOf(checked);
  if (status.ok()) return;
  if (status.code() != absl::StatusCode::kInvalidArgument ||
      retort::services::ReasonOf(status) == retort::ERROR_REASON_UNSPECIFIED)
    std::abort();
}

namespace jobs = retort::jobs::v1;
namespace policy = retort::policy::v1;
namespace teacher = retort::teacher::v1;

constexpr void (*kChecks[])(const uint8_t*, size_t) = {
    Check<jobs::CreateJobRequest>,
    Check<jobs::GetJobRequest>,
    Check<jobs::ListJobsRequest>,
    Check<jobs::UpdateJobRequest>,
    Check<jobs::DeleteJobRequest>,
    Check<jobs::CancelJobRequest>,
    Check<jobs::PauseJobRequest>,
    Check<jobs::ResumeJobRequest>,
    Check<jobs::RetryJobRequest>,
    Check<jobs::GetJobLogRequest>,
    Check<jobs::WatchJobLogRequest>,
    Check<jobs::WatchJobRequest>,
    Check<jobs::AskTeacherRequest>,
    Check<jobs::DownloadStudentRequest>,
    Check<jobs::ExchangeRendezvousRequest>,
    Check<policy::DecideJobRequest>,
    Check<policy::DecideSampleRequest>,
    Check<policy::GetPolicyRequest>,
    Check<policy::ListPoliciesRequest>,
    Check<policy::PreviewJobRequest>,
    Check<policy::SignReviewRequest>,
    Check<policy::CreatePolicyRevisionRequest>,
    Check<policy::ActivatePolicyRevisionRequest>,
    Check<teacher::ExtractRequest>,
    Check<teacher::GetTeacherRequest>,
    Check<teacher::ListTeachersRequest>,
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0 && data[0] < std::size(kChecks)) kChecks[data[0]](data + 1, size - 1);
  return 0;
}
