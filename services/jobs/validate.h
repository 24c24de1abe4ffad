// Checks of requests to the jobs service. Pure; each refusal is InvalidArgument with reason INVALID_FIELD and
// names the field, the value seen and the value wanted, never a prompt.
#ifndef SERVICES_JOBS_VALIDATE_H_
#define SERVICES_JOBS_VALIDATE_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "retort/jobs/v1/jobs.pb.h"

namespace retort::jobs {

inline constexpr int kPromptsMax = 10'000;
inline constexpr size_t kPromptBytesMax = 64 * 1024;
inline constexpr size_t kSpecBytesMax = 3 * 1024 * 1024;  // a Job must fit into a 4 MiB message
inline constexpr int kConcurrencyDefault = 16;
inline constexpr int kConcurrencyMax = 256;

// Everything of a spec that can be judged without asking anybody: names, prompts (1 to 10,000, distinct ids,
// at least one to train on), sampling, student and training ranges, size.
absl::Status ValidateSpec(const v1::JobSpec& spec);

// The ranges of a sampling; `field` is its path in the request.
absl::Status ValidateSampling(std::string_view field, const teacher::v1::Sampling& sampling);

absl::Status Validate(const v1::CreateJobRequest& request);
absl::Status Validate(const v1::GetJobRequest& request);
absl::Status Validate(const v1::ListJobsRequest& request);
absl::Status Validate(const v1::UpdateJobRequest& request);
absl::Status Validate(const v1::DeleteJobRequest& request);
absl::Status Validate(const v1::CancelJobRequest& request);
absl::Status Validate(const v1::PauseJobRequest& request);
absl::Status Validate(const v1::ResumeJobRequest& request);
absl::Status Validate(const v1::RetryJobRequest& request);
absl::Status Validate(const v1::GetJobLogRequest& request);
absl::Status Validate(const v1::WatchJobLogRequest& request);
absl::Status Validate(const v1::WatchJobRequest& request);
absl::Status Validate(const v1::AskTeacherRequest& request);
absl::Status Validate(const v1::DownloadStudentRequest& request);
absl::Status Validate(const v1::ExchangeRendezvousRequest& request);

// The fields of ApproveSample and RejectSample.
absl::Status ValidateReview(std::string_view name, std::string_view reason, std::string_view request_id);

// Empty, or 8-4-4-4-12 lower-case hex digits.
absl::Status ValidateRequestId(std::string_view request_id);

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_VALIDATE_H_
