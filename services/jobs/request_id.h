// Request ids of ledger entries that are not samples (those: ledger/uuid.h). They are derived, not drawn, so
// that a repeat after a crash names the same entry. Pure, but for RandomUuid; safe on any thread.
#ifndef SERVICES_JOBS_REQUEST_ID_H_
#define SERVICES_JOBS_REQUEST_ID_H_

#include <string>
#include <string_view>

namespace retort::jobs {

// Id of the one entry of a kind that a job has: from "retort/" milestone "/v1\n" job_uid. Milestones are
// "dataset" and "release".
std::string MilestoneRequestId(std::string_view milestone, std::string_view job_uid);

// The uid of a job: a random UUID, version 4.
std::string RandomUuid();

}  // namespace retort::jobs

#endif  // SERVICES_JOBS_REQUEST_ID_H_
